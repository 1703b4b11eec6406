"""How a run ends early, in words."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from striate.errors import InterruptedRunError, NotFiniteError, StriateError
from striate.training.checkpoint import Progress
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder


def expect_finite(
    what: float | Mapping[str, Tensor], at: str, progress: Progress, config: TrainConfig, folder: RunFolder
) -> None:
    """Refuse a loss, or weights, that are infinite or no numbers, at some step.

    Raises:
        NotFiniteError: naming what it is, and where the last good weights are.
    """
    if isinstance(what, float):
        if math.isfinite(what):
            return
        received = f"a loss of {what}"
    else:
        wrong = [name for name, each in what.items() if each.is_floating_point() and not bool(each.isfinite().all())]
        if not wrong:
            return
        received = f"{wrong[0]} with a value that is infinite or not a number"
    kept = "of the last good epoch" if progress.epoch else "that it began with, for no epoch had ended,"
    raise NotFiniteError(
        expected="finite numbers",
        received=f"{received} at {at} (epoch {progress.epoch + 1})",
        remedy=f"Try a lower --lr (it was {config.lr:g}), --warmup-epochs 1"
        f"{', no --amp' if config.amp else ''}; the weights {kept} are in {folder.last}.",
    )


def interrupted(signal: str, done: str, resume_command: str) -> InterruptedRunError:
    """Return the error of a run that was asked to stop, after it has done so much."""
    return InterruptedRunError(
        expected="the run to its end",
        received=f"{signal} after {done}; everything is saved",
        remedy=f"Go on with: {resume_command}",
    )


def too_little_memory(error: torch.OutOfMemoryError, folder: RunFolder, is_planned: bool) -> StriateError:
    """Return the error of a device that is full, in a run that makes no other plan."""
    less = "a smaller --memory" if is_planned else "--memory 80%, and the run is planned so that it fits"
    return StriateError(
        expected="enough memory for a step of this run",
        received=str(error).partition(". ")[0],
        remedy=f"Give {less}; what it has learned so far is in {folder.path}.",
    )
