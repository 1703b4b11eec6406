from striate.errors import StriateError, UsageError, nearest


def test_an_error_says_its_three_parts() -> None:
    error = UsageError(expected="a cat", received="a dog", remedy="Bring a cat.")
    assert str(error) == "expected a cat; received a dog. Bring a cat."
    assert (error.exit_status, StriateError.exit_status) == (2, 1)


def test_nearest_names_what_may_have_been_meant_or_all_there_is() -> None:
    assert nearest("lenet", ["lenet5", "vgg16"]) == "Did you mean lenet5?"
    assert nearest("zzz", ["lenet5", "vgg16"]) == "Known: lenet5, vgg16."


def test_of_very_many_the_nearest_are_named() -> None:
    names = [f"features.{place}.conv" for place in range(200)]
    said = nearest("q.1", names)
    assert said.startswith("Of 200, the nearest: ")
    assert said.count("features.") == 8
