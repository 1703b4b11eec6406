"""How a run ends early, in words."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from striate.errors import InterruptedRunError, NotFiniteError, StriateError
from striate.training.checkpoint import Progress
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.group import Group
from striate.training.signals import spoken


def bad_tensor(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of a tensor with a value that is infinite or not a number; None where all are finite."""
    wrong = (name for name, each in tensors.items() if each.is_floating_point() and not bool(each.isfinite().all()))
    return next(wrong, None)


def not_finite(received: str, at: str, progress: Progress, config: TrainConfig, folder: RunFolder) -> NotFiniteError:
    """Return the error of an infinity, or of what is no number, at some step."""
    kept = "of the last good epoch" if progress.epoch else "that it began with, for no epoch had ended,"
    return NotFiniteError(
        expected="finite numbers",
        received=f"{received} at {at} (epoch {progress.epoch + 1})",
        remedy=f"Try a lower --lr (it was {config.lr:g}), --warmup-epochs 1"
        f"{', no --amp' if config.amp else ''}; the weights {kept} are in {folder.last}.",
    )


def interrupted(received: Sequence[str], done: str, folder: RunFolder, group: Group) -> InterruptedRunError:
    """Return the error of a run that was asked to stop, by signals to this process or another, after so much."""
    return InterruptedRunError(
        expected="the run to its end",
        received=f"{spoken(received)} after {done}; everything is saved",
        remedy=f"Go on with: {group.command(f'train --resume {folder.path}')}",
    )


def too_little_memory(error: torch.OutOfMemoryError, folder: RunFolder, is_planned: bool) -> StriateError:
    """Return the error of a device that is full, in a run that makes no other plan."""
    less = "a smaller --memory" if is_planned else "--memory 80%, and the run is planned so that it fits"
    return StriateError(
        expected="enough memory for a step of this run",
        received=str(error).partition(". ")[0],
        remedy=f"Give {less}; what it has learned so far is in {folder.path}.",
    )
