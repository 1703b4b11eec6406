"""Long work that says how far it is: one kind of record for all of it."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Counted:
    """So much of some work is done.

    Args:
        done: things that are done.
        total: of so many.
    """

    what: ClassVar[str]  # In words, for a bar.

    done: int
    total: int
