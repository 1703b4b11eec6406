"""How long each operator of a program takes, measured as it runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from striate.graph.dispatch import is_bookkeeping, is_view
from striate.graph.operators import Phase
from striate.graph.programs import Program

SECONDS = 1.0  # That measuring goes on, once each operator has run.
MOST = 5


@dataclass(frozen=True, slots=True)
class Timed:
    """An operator that does more than look at a tensor in another way.

    Args:
        phase: that it ran in.
        name: torch's own.
        seconds: that it took.
    """

    phase: Phase
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Timings:
    """What a program's operators took, in the order in which they ran.

    Args:
        operators: the least that each took in some runs.
        spread: the longest of these runs over the shortest: far above 1 where something else ran besides.
    """

    operators: list[Timed]
    spread: float


def time_operators(program: Program, now: Callable[[], float] = time.perf_counter) -> Timings:
    """Run a program, once unmeasured and then a few times, and return the least that each of its operators took.

    Args:
        program: on a device, with values.
        now: a clock, in seconds, that waits until the device has done all that it was given.

    Raises:
        ValueError: where it runs other operators from one time to the next.
    """
    program.begin()
    program.run(lambda _phase: nullcontext())
    runs: list[list[Timed]] = []
    began = now()
    while len(runs) < 2 or (len(runs) < MOST and now() - began < SECONDS):
        clock = _Clock(now)
        with clock:
            program.run(clock.during)
        runs.append(clock.timed)
    found = []
    for first, *others in zip(*runs, strict=True):
        if any((other.phase, other.name) != (first.phase, first.name) for other in others):
            raise ValueError(f"{first.name} ran once, and another operator in its place the next time")
        found.append(Timed(first.phase, first.name, min(run.seconds for run in (first, *others))))
    totals = [sum(one.seconds for one in run) for run in runs]
    return Timings(found, max(totals) / max(min(totals), 1e-9))


class _Clock(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes the time of each operator."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.timed: list[Timed] = []
        self._phase, self._now = Phase.FORWARD, now

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        before, self._phase = self._phase, phase
        yield
        self._phase = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator."""
        if is_bookkeeping(func) or is_view(func):
            return func(*args, **(kwargs or {}))
        began = self._now()
        out = func(*args, **(kwargs or {}))
        self.timed.append(Timed(self._phase, str(func), self._now() - began))
        return out
