import shlex
from typing import Any

import pytest

from striate.cli.main import app
from striate.training.command import command_of
from striate.training.config import TrainConfig

SETTINGS: list[dict[str, Any]] = [
    {"model": "lenet5"},
    {"model": "mlp", "model_kwargs": {"hidden_sizes": [100, 50], "tied": True, "name": "a b"}, "epochs": 3},
    {"model": "lenet5", "image_size": (32, 24), "mean": (0.1, 0.25, 1e-9), "std": (0.5,), "opt": "adam"},
    {"model": "lenet5", "opt": "adamw", "lr": 3e-3, "smoothing": 0.1, "channels_last": False, "amp": True},
    {"model": "lenet5", "memory": "2GiB", "allow": ("stride", "layers"), "lossless": True, "seed": 7},
    {"model": "lenet5", "pretrained": "a folder/x", "probe": True, "epochs": 0, "frozen_norm": False},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ",".join(settings))
def test_the_command_asks_for_the_same_run(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig.model_validate({"data": "my digits", "output": "anywhere", **settings})
    words = shlex.split(command_of(config))
    asked: list[TrainConfig] = []

    def parse(*layers: Any, resume: object = None) -> TrainConfig:
        asked.append(TrainConfig.model_validate({key: value for layer in layers for key, value in layer.items()}))
        raise SystemExit

    monkeypatch.setattr("striate.cli.train.train_config", parse)
    with pytest.raises(SystemExit):
        app(words, standalone_mode=False)
    assert asked == [config.model_copy(update={"output": None})]


def test_what_is_usual_is_left_out() -> None:
    assert command_of(TrainConfig(data="digits", model="lenet5")) == "train digits --model lenet5"
