from pathlib import Path

import pytest

from striate.errors import UsageError
from striate.training.config import TrainConfig, load_config, read_config, read_recipe

BASE = {"data": "digits", "model": "lenet5"}


def test_later_layers_win_and_defaults_fill_in() -> None:
    config = load_config(BASE, {"epochs": 3, "lr": 0.5}, {"epochs": 4})
    assert (config.epochs, config.lr, config.batch_size) == (4, 0.5, 64)
    assert load_config(BASE, {"opt": "adam"}).lr == 0.001


@pytest.mark.parametrize(("text", "size"), [("32", (32, 32)), ("32x24", (32, 24)), (17, (17, 17)), ([5, 6], (5, 6))])
def test_image_sizes_are_read(text: object, size: tuple[int, int]) -> None:
    assert load_config(BASE, {"image_size": text}).image_size == size


def test_options_of_the_network_are_read_as_yaml() -> None:
    config = load_config(BASE, {"model_kwargs": ["hidden_sizes=[300, 100]", "name=x=y", "drop_rate=1e-1"]})
    assert config.model_kwargs == {"hidden_sizes": [300, 100], "name": "x=y", "drop_rate": 0.1}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"batchsize": 3}, "received 'batchsize'. Did you mean batch_size"),
        ({"epochs": 0}, "--epochs of 1 or more; received 0. 0 leaves it at --probe"),
        ({"lr": float("inf")}, "--lr: .*finite"),
        ({"epochs": "many"}, "--epochs: .*integer.*received 'many'"),
        ({"image_size": "32x"}, "--image-size: a side such as 32"),
        ({"image_size": "0x5"}, "--image-size: .*greater than or equal to 1"),
        ({"model_kwargs": ["x"]}, "--model-kwargs: KEY=VALUE"),
        ({"model_kwargs": ["x=[1"]}, "--model-kwargs: KEY=VALUE with a value in YAML"),
        ({"model_kwargs": {"image_size": [3, 3]}}, "received image_size"),
        ({"model_kwargs": {"pretrained": "w.safetensors"}}, "received pretrained"),
        ({"opt": "sdg"}, "--opt: .*'momentum'.*received 'sdg'"),
        ({"sched": "onecycle", "warmup_epochs": 1}, "a warm-up of its own"),
        ({"epochs": 3, "warmup_epochs": 3}, "below --epochs, which is 3; received 3"),
        ({"amp": True, "amp_dtype": "float16"}, "some twenty times slower"),
    ],
)
def test_wrong_values_are_refused_by_flag(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        load_config(BASE, values)


def test_a_missing_model_is_asked_for() -> None:
    with pytest.raises(UsageError, match="expected --model; received nothing"):
        load_config({"data": "digits"})


@pytest.mark.parametrize("content", [None, "- a\n- b\n", "a: [", "1: 2", b"\xff\xfe\x00"])
def test_config_files_that_are_none_are_refused(tmp_path: Path, content: str | bytes | None) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError, match=r"c\.yaml"):
        read_config(path)


@pytest.mark.parametrize("name", ["lenet5-digits", "lenet5-mnist"])
def test_recipes_are_valid_configs(name: str) -> None:
    recipe = read_recipe(name)
    config = load_config({"data": "somewhere"}, recipe)
    assert recipe.items() <= config.model_dump().items()


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean lenet5-digits"):
        read_recipe("lenet5-digit")


def test_paths_may_begin_at_home_and_be_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = TrainConfig.model_validate({**BASE, "data": Path("~/digits"), "output": "~/runs/a"})
    assert (config.data, config.output) == ("/home/me/digits", "/home/me/runs/a")


def test_a_config_is_frozen() -> None:
    config = TrainConfig(data="digits", model="lenet5")
    with pytest.raises(ValueError, match="frozen"):
        config.epochs = 3


def test_options_of_a_network_are_put_together_but_not_with_those_of_another() -> None:
    recipe = {"model": "yolo", "model_kwargs": {"drop_rate": 0, "grid": 7}}
    config = load_config(BASE, recipe, {"model_kwargs": {"channels": 64}}, {"model_kwargs": ["grid=[6,8]"]})
    assert config.model_kwargs == {"drop_rate": 0, "channels": 64, "grid": [6, 8]}
    other = load_config(BASE, recipe, {"model_kwargs": {"channels": 64}}, {"model": "yolov3"})
    assert other.model_kwargs == {"channels": 64}
    assert load_config(BASE, recipe, {"model": "yolov3"}).model_kwargs == {}


@pytest.mark.parametrize("said", ["grid", ["grid"], 3])
def test_options_that_are_none_are_refused_wherever_they_are_said(said: object) -> None:
    with pytest.raises(UsageError, match="model.kwargs"):
        load_config(BASE, {"model_kwargs": said}, {"model_kwargs": {"channels": 64}})
