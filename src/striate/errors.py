"""What goes wrong, said so that the reader can mend it: what was expected, what came, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class StriateError(Exception):
    """A failure that its reader can act on.

    Args:
        expected: what would have worked.
        received: what came instead, as the user wrote or named it.
        remedy: what to do about it, a full sentence.
    """

    exit_status = 1
    is_met_by_all = False

    def __init__(self, *, expected: str, received: str, remedy: str) -> None:
        super().__init__(f"expected {expected}; received {received}. {remedy}")
        self.expected = expected
        self.received = received
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error come out of another process as it is."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[StriateError], arguments: tuple[object, ...], values: dict[str, Any]) -> StriateError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(values)
    return error


class UsageError(StriateError):
    """The program was asked for something that it cannot do; nothing was started.

    Of several processes of a run, all meet it alike, unless a subclass says otherwise.
    """

    exit_status = 2
    is_met_by_all = True


class BudgetError(StriateError):
    """Nothing fits into the memory that was granted."""


class InterruptedRunError(StriateError):
    """A run was asked to stop; it saved its state first."""


class NotFiniteError(StriateError):
    """Training met an infinity or something that is not a number."""


MANY = 100  # Names that nobody reads.
FEW = 8


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence naming what the user may have meant by ``name``, else all that is known, of many the nearest.

    >>> nearest("lenet6", ["lenet5", "mlp"])
    'Did you mean lenet5?'
    """
    known = list(known)
    close = get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    if len(known) > MANY:
        return f"Of {len(known):,}, the nearest: {', '.join(get_close_matches(name, known, n=FEW, cutoff=0))}."
    return f"Known: {', '.join(known)}."
