"""What survives a run's sudden end.

All that the next step depends on is written as one *generation*, a folder ``resume/<epoch>-<step>`` with the network,
the average of its weights, the optimizer and the progress. It is written whole beside its place, flushed to the disk,
and made current by one rename; only then is the one before it deleted. A process killed at any moment leaves the last
whole generation, and at most some rubbish that the next one clears away. There is no random state to keep: every
number is drawn from the seed and the position (see ``striate.data.keyed``).
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from striate.errors import StriateError
from striate.files import flush, load_tensors, make_folder, save_tensors
from striate.training.records import EpochRecord

NETWORK, AVERAGE, OPTIMIZER, PROGRESS = "network.safetensors", "average.safetensors", "optimizer.pt", "progress.json"
_UNFINISHED, _FINISHED = ".writing", "[0-9]*-[0-9]*"


@dataclass
class Progress:
    """Where a run stands. Exact: numbers survive the way through JSON bit for bit.

    Args:
        circumstances: what must not change between two parts of a run, such as the data's fingerprint.
        epoch: being trained, counted from 0.
        step_in_epoch: steps of it that are done.
        step: of the whole run.
        loss_sum: over the epoch's images so far, of their batch's mean loss.
        images: of the epoch so far.
        epoch_seconds: spent on the epoch so far.
        waited_seconds: of these, waiting for images.
        stale_epochs: since the best one.
        averaging: whether averaged weights are judged already.
        best: metrics of the best epoch so far.
        records: of all finished epochs.
    """

    circumstances: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    images: int = 0
    epoch_seconds: float = 0.0
    waited_seconds: float = 0.0
    stale_epochs: int = 0
    averaging: bool = False
    best: dict[str, float] | None = None
    records: list[EpochRecord] = field(default_factory=list)

    @property
    def position(self) -> str:
        """The name of this state: positions in a run are in the order of their names."""
        fitted = "-fitted" if self.records and self.epoch == self.step_in_epoch == 0 else ""
        return f"{self.epoch:06d}-{self.step_in_epoch:09d}{fitted}"

    def end_epoch(self, record: EpochRecord) -> None:
        """Take in what an epoch came to, and stand at the beginning of the next."""
        self.records.append(record)
        self.best = dict(record.metrics) if record.best else self.best
        self.stale_epochs = 0 if record.best else self.stale_epochs + 1
        self.epoch, self.step_in_epoch, self.images = record.epoch, 0, 0
        self.loss_sum = self.epoch_seconds = self.waited_seconds = 0.0

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Progress":
        """Read back what `dataclasses.asdict` gave."""
        return cls(**{**fields, "records": [EpochRecord(**record) for record in fields["records"]]})


@dataclass(frozen=True, slots=True)
class Generation:
    """One whole state of a run."""

    network: Mapping[str, Tensor]
    average: Mapping[str, Tensor] | None
    optimizer: dict[str, Any]
    progress: Progress


def save_generation(folder: Path, generation: Generation) -> None:
    """Write a generation into ``folder`` and make it the current one.

    Raises:
        StriateError: where the disk refuses; the generation before it is still whole.
    """
    progress = generation.progress
    unfinished, finished = folder / _UNFINISHED, folder / progress.position
    if finished.exists():
        return  # The same position is the same state.
    try:
        make_folder(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        save_tensors(unfinished / NETWORK, generation.network)
        if generation.average is not None:
            save_tensors(unfinished / AVERAGE, generation.average)
        torch.save(generation.optimizer, unfinished / OPTIMIZER)
        (unfinished / PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")
        flush(unfinished / OPTIMIZER)
        flush(unfinished / PROGRESS)
        flush(unfinished)
        os.replace(unfinished, finished)
        flush(folder)
        _clear(folder, keep=finished)
    except (OSError, RuntimeError) as error:
        raise StriateError(
            expected=f"to write a checkpoint into {folder}",
            received=str(error),
            remedy="Free some space and go on with --resume; the checkpoint before this one is whole.",
        ) from error


def has_generation(folder: Path) -> bool:
    """Tell whether there is one to go on from."""
    return any(folder.glob(_FINISHED))


def load_generation(folder: Path, clear: bool = True) -> Generation | None:
    """Return the current generation, or None where there is none.

    Args:
        folder: of generations.
        clear: whether to clear away what an interrupted write left; one process of a run does.

    Raises:
        StriateError: where its files are damaged.
    """
    current = max(folder.glob(_FINISHED), default=None)
    if clear:
        _clear(folder, keep=current)
    if current is None:
        return None
    try:
        progress = Progress.from_dict(json.loads((current / PROGRESS).read_text(encoding="utf-8")))
        optimizer = torch.load(current / OPTIMIZER, weights_only=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, UnpicklingError) as error:
        raise StriateError(
            expected=f"a whole checkpoint in {current}",
            received=f"{type(error).__name__}: {error}",
            remedy="Its files were damaged after they were written; start the run again under another --output.",
        ) from error
    average = load_tensors(current / AVERAGE) if (current / AVERAGE).exists() else None
    return Generation(load_tensors(current / NETWORK), average, optimizer, progress)


def _clear(folder: Path, keep: Path | None) -> None:
    for path in (*folder.glob(_FINISHED), *folder.glob(_UNFINISHED)):
        if path != keep:
            shutil.rmtree(path)
