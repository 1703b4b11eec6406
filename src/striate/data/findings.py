"""What a data set's user should know of it, thing by thing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from striate.data.annotations import GRAVE, FaultKind
from striate.data.inspection import Inspected

Kind = (
    Literal[
        "unreadable",
        "mask",
        "missing image",
        "two labels",
        "two parts",
        "duplicate",
        "empty class",
        "unknown class",
        "one class",
        "channels",
        "missing class",
        "unlabelled",
        "imbalance",
        "animated",
        "hidden folder",
        "other file",
    ]
    | FaultKind
)
# Training would be wrong: on what is missing, contradicts itself, or is known from the part to judge by.
SEVERE: tuple[Kind, ...] = (
    "unreadable",
    "mask",
    *GRAVE,
    "missing image",
    "two labels",
    "two parts",
    "empty class",
    "one class",
    "channels",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a data set's user should know.

    Args:
        kind: of it.
        text: what it is.
        files: that it is about.
    """

    kind: Kind
    text: str
    files: tuple[Inspected, ...] = ()

    @property
    def severe(self) -> bool:
        """Whether training would be wrong."""
        return self.kind in SEVERE


def some(names: Sequence[str]) -> str:
    """Name a few of many."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
