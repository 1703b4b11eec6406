import pytest

from striate.errors import StriateError
from striate.results import Classes


def test_classes_name_the_most_probable_first() -> None:
    classes = Classes(("cat", "dog", "bird"), (0.2, 0.7, 0.1))
    assert (classes.best, classes.name, classes.probability) == (1, "dog", 0.7)
    assert classes.top(2) == [("dog", 0.7), ("cat", 0.2)]


@pytest.mark.parametrize(
    "probabilities", [(0.2, 0.7), (0.2, 0.7, 0.2), (0.1, 0.1, 0.1, 0.7), (1.5, -0.5, 0.0), (float("nan"),) * 3]
)
def test_classes_refuse_what_are_not_their_probabilities(probabilities: tuple[float, ...]) -> None:
    with pytest.raises(StriateError, match="3 probabilities that add up to 1"):
        Classes(("cat", "dog", "bird"), probabilities)
