"""What can be refused before anything heavy is loaded: wrong names, wrong flags, folders that are taken or missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from striate.data.names import EMBEDDED, find_data
from striate.errors import UsageError
from striate.training.config import TrainConfig, load_config
from striate.training.folder import RunFolder
from striate.weights import find_weights, read_weights_config
from striate.zoo import find_model

FREE_ON_RESUME = ("workers", "checkpoint_seconds")


def train_config(*layers: Mapping[str, Any], resume: str | Path | None = None) -> TrainConfig:
    """Return the config that files and flags ask for, later ones over earlier ones, or that of a run to resume.

    Raises:
        UsageError: for anything that `check_training` refuses, and for a wrong key or value.
    """
    if resume is None:
        config = load_config(*layers)
    else:
        config = load_config(RunFolder.find(resume).config().model_dump(), *layers)
    check_training(config, resume)
    return config


def check_training(config: TrainConfig, resume: str | Path | None = None) -> None:
    """Refuse what a training run could not begin with.

    Raises:
        UsageError: for an unknown network or data set, an output that is taken, or a resumed run with other settings.
    """
    find_model(config.model)
    find_data(config.data)
    if resume is None:
        RunFolder.expect_free(config)
    else:
        _expect_unchanged(RunFolder.find(resume).config(), config)


def check_prediction(run: str | Path, images: Sequence[str | Path]) -> None:
    """Refuse what could not be predicted.

    Raises:
        UsageError: where there is no trained network, or no image of that name.
    """
    read_weights_config(find_weights(run))
    for image in map(str, images):
        if image not in EMBEDDED and not Path(image).is_file():
            raise UsageError(
                expected="image files, or an embedded set",
                received=f"{image!r}, which is neither",
                remedy=f"Check the path; the embedded sets are: {', '.join(EMBEDDED)}.",
            )


def _expect_unchanged(saved: TrainConfig, wanted: TrainConfig) -> None:
    before, after = saved.model_dump(), wanted.model_dump()
    changed = [
        f"{name} {before[name]} -> {after[name]}"
        for name in before
        if name not in FREE_ON_RESUME and before[name] != after[name]
    ]
    if changed:
        raise UsageError(
            expected="the run as it was begun",
            received=", ".join(changed),
            remedy=f"Leave that out, or start a new run; only {' and '.join(FREE_ON_RESUME)} may change.",
        )
