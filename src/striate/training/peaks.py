"""The peak of memory of each phase of a planned run, measured once in the run itself."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from torch import Tensor

from striate.training.records import PeakRecord


class Peak(Protocol):
    """What was found."""

    @property
    def size(self) -> int:
        """The most bytes of tensors alive at one moment."""
        ...


Watch = Callable[[Iterable[Tensor], str], AbstractContextManager[Peak]]


class Peaks:
    """What the phases of a run took.

    Args:
        watch: finds the peak of what runs in its context, besides tensors that are there already; None to measure
            nothing.
    """

    def __init__(self, watch: Watch | None) -> None:
        self._watch = watch
        self._fresh: list[PeakRecord] = []
        self.records: dict[str, PeakRecord] = {}

    def wants(self, phase: str) -> bool:
        """Tell whether a phase is still to be measured."""
        return self._watch is not None and phase not in self.records

    @contextmanager
    def measure(self, phase: str, predicted: int, budget: int, held: Iterable[Tensor], device: str) -> Iterator[None]:
        """Measure what runs in the context; arguments as in `PeakRecord` and ``watch``."""
        assert self._watch is not None
        with self._watch(held, device) as peak:
            yield
        self.records[phase] = PeakRecord(phase, predicted, peak.size, budget)
        self._fresh.append(self.records[phase])

    def fresh(self) -> Iterator[PeakRecord]:
        """Yield what was measured since this was last asked."""
        yield from self._fresh
        self._fresh = []

    def forget(self) -> None:
        """Measure all phases again: they are another plan's."""
        self.records.clear()
        self._fresh = []
