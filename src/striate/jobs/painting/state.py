"""A picture that is being painted, put aside and taken up again: one file, written whole."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from striate.errors import StriateError, UsageError
from striate.files import load_tensors, save_tensors

OPTIMIZER = "optimizer."


@dataclass(slots=True)
class State:
    """How far a picture is.

    Args:
        asked: what it is painted by; the same throughout.
        rung: of its sizes, counted from 0.
        step: that are done on that rung.
        seconds: that it took.
        image: as the network takes it.
        optimizer: its tensors and counts, by their names.
    """

    asked: Mapping[str, Any]
    rung: int = 0
    step: int = 0
    seconds: float = 0.0
    image: Tensor | None = None
    optimizer: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it to a file."""
        assert self.image is not None
        counts = {name: each for name, each in self.optimizer.items() if not isinstance(each, Tensor)}
        told = {
            "asked": dict(self.asked),
            "rung": self.rung,
            "step": self.step,
            "seconds": self.seconds,
            "counts": counts,
        }
        tensors = {OPTIMIZER + name: each for name, each in self.optimizer.items() if isinstance(each, Tensor)}
        words = torch.frombuffer(bytearray(json.dumps(told).encode()), dtype=torch.uint8)
        save_tensors(path, {"told": words, "image": self.image, **tensors})


def resumed(path: Path, asked: Mapping[str, Any]) -> State:
    """Return what a file has of a picture, or the beginning where there is no file.

    Raises:
        UsageError: where that one was asked for differently.
        StriateError: for a file that is damaged.
    """
    if not path.exists():
        return State(asked)
    # Where a file's tensors lie in memory is the file's choice, and sums depend on it by a bit.
    tensors = {name: each.clone() for name, each in load_tensors(path).items()}
    try:
        told = json.loads(bytes(tensors.pop("told").tolist()))
        image = tensors.pop("image")
        before, counts = told["asked"], told["counts"]
    except (KeyError, ValueError, TypeError) as error:
        raise StriateError(
            expected=f"in {path} a picture that was being painted",
            received=f"{type(error).__name__}: {error}",
            remedy="Delete it, and begin again.",
        ) from error
    now = json.loads(json.dumps(asked))
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        raise UsageError(
            expected=f"the picture as it was begun, which {path} goes on with",
            received=", ".join(f"{name} {now[name]}, not {before.get(name)}" for name in changed),
            remedy=f"Ask for the same again, or delete {path} to begin anew.",
        )
    optimizer = {name.removeprefix(OPTIMIZER): each for name, each in tensors.items()}
    return State(asked, told["rung"], told["step"], told["seconds"], image, optimizer | counts)


def fingerprint(path: Path) -> str:
    """Return what tells one file's content from another's."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
