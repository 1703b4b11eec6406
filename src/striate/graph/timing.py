"""How long each operator of a program takes, measured as it runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from striate.graph.dispatch import is_question, is_view
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


def time_operators(program: Program, device: str) -> list[Timed]:
    """Run a program, once unmeasured and then a few times, and return the least that each of its operators took.

    Args:
        program: on a device, with values.
        device: ``cpu`` or ``cuda``.

    Raises:
        RuntimeError: where it runs other operators from one time to the next.
    """
    program.begin()
    program.run(lambda _phase: nullcontext())
    runs: list[list[Timed]] = []
    began = time.perf_counter()
    while len(runs) < 2 or (len(runs) < MOST and time.perf_counter() - began < SECONDS):
        clock = _Clock(device)
        with clock:
            program.run(clock.during)
        runs.append(clock.timed)
    return [
        Timed(first.phase, first.name, min(run.seconds for run in same))
        for same in zip(*runs, strict=True)
        for first in same[:1]
    ]


class _Clock(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes the time of each operator."""

    def __init__(self, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.timed: list[Timed] = []
        self._phase = Phase.FORWARD
        self._is_cuda = device == "cuda"

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        self._phase = phase
        yield

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator."""
        if is_question(func) or is_view(func):
            return func(*args, **(kwargs or {}))
        began = self._now()
        out = func(*args, **(kwargs or {}))
        self.timed.append(Timed(self._phase, str(func), self._now() - began))
        return out

    def _now(self) -> float:
        if self._is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()
