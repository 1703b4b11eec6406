"""The search for a plan: micro-batches, 16-bit floats and recomputation, for a budget in bytes.

For each number of micro-batches, from one on in powers of two, the step is traced; where it does not fit as it is, the
fastest recomputation that makes it fit is found (`striate.planning.recomputation`), and the step traced again with it,
since a plan's peak is one that was predicted of that very program. Of all that fit, the fastest is taken.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from striate.costing.devices.device import Device
from striate.costing.memory import Moment, find_peak, timeline
from striate.graph.operators import OperatorGraph
from striate.graph.programs import Training
from striate.planning.plan import Recomputed, cut
from striate.planning.recomputation import Recomputation
from striate.planning.times import Times, step_seconds

AMP_DTYPES = None, "bfloat16"
TRIES = 8
HOPE = 1.05  # Times the budget, up to which what the search says that a choice needs may still turn out to fit.


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to take a step.

    Args:
        parts: micro-batches.
        amp_dtype: of autocast, by torch's name; None without.
        recompute: what is made again.
        peak: predicted, in bytes.
        seconds: estimated.
        optimizer_in_backward: whether each parameter is updated as soon as its gradient is there.
    """

    parts: int
    amp_dtype: str | None
    recompute: tuple[Recomputed, ...]
    peak: int
    seconds: float
    optimizer_in_backward: bool = False


MakeProgram = Callable[[int, str | None], Training]


class Search:
    """All ways to take one training step on a device.

    Args:
        make: the program, for a number of micro-batches and autocast's type.
        batch_size: images of the step.
        device: that it runs on.
        times: what its operators take, with autocast's type.
        channels_last: as for `trace`.
        counts: sizes of all batches that occur, such as the last one's of an epoch; ``batch_size`` alone by default.
        amp_dtypes: of autocast, that may be chosen; None is none.
        updates_early: whether a step in one part may update each parameter as soon as its gradient is there; it may
            not where something is done with all gradients at once.
    """

    def __init__(
        self,
        make: MakeProgram,
        batch_size: int,
        device: Device,
        times: Callable[[str | None], Times],
        *,
        channels_last: bool | None = None,
        counts: Collection[int] = (),
        amp_dtypes: tuple[str | None, ...] = AMP_DTYPES,
        updates_early: bool = True,
    ) -> None:
        self.make, self.batch_size, self.device, self.times = make, batch_size, device, times
        self.channels_last, self.counts = channels_last, {batch_size, *counts}
        self.amp_dtypes, self.updates_early = amp_dtypes, updates_early
        self._known: dict[tuple[int, str | None, bool], Variant] = {}

    def variant(self, parts: int, amp_dtype: str | None = None, *, optimizer_in_backward: bool = False) -> "Variant":
        """Return the step in so many micro-batches."""
        key = parts, amp_dtype, optimizer_in_backward
        if key not in self._known:
            self._known[key] = Variant(self, *key)
        return self._known[key]

    def leanest(self, amp_dtype: str | None = None) -> "Variant":
        """Return the step in one part that frees gradients as early as it may: what else it does comes on top."""
        early = self.updates_early and self.variant(1, amp_dtype).program.optimizer is not None
        return self.variant(1, amp_dtype, optimizer_in_backward=early)

    def variants(self, most_parts: int, amp_dtype: str | None) -> "Iterator[Variant]":
        """Yield the step in one part, in two, four and so on, and an image at a time, as far as the network allows."""
        parts = 1
        while parts <= most_parts:
            if self._allows(parts):
                yield self.variant(parts, amp_dtype)
                if parts == 1 and (leanest := self.leanest(amp_dtype)).plain.optimizer_in_backward:
                    yield leanest
            parts = parts + 1 if parts == most_parts else min(2 * parts, most_parts)

    def _allows(self, parts: int) -> bool:
        """Tell whether the network takes each part: batch norm refuses to take the statistics of a single value."""
        smallest = min(count // cut(count, self.batch_size, parts) for count in self.counts)
        return parts == 1 or smallest > 1 or self.takes_one_image

    @cached_property
    def takes_one_image(self) -> bool:
        """Whether the network takes an image by itself."""
        try:
            self.variant(self.batch_size)
        except (ValueError, RuntimeError):
            return False
        return True

    def fastest(self, budget: int, *, most_parts: int, amp_dtypes: tuple[str | None, ...]) -> Candidate | None:
        """Return the fastest way that fits a budget in bytes; None where none does."""
        fitting: list[Candidate] = []
        others: dict[tuple[int, str | None], Variant] = {}
        for amp_dtype in amp_dtypes:
            for variant in self.variants(most_parts, amp_dtype):
                if variant.plain.peak <= budget:
                    fitting.append(variant.plain)
                    break  # More parts only take longer.
                others[variant.parts, amp_dtype] = variant  # Of those in one part the leanest, which comes last.
        for variant in sorted(others.values(), key=lambda variant: variant.plain.seconds):
            # What runs again comes on top.
            if all(variant.plain.seconds < candidate.seconds for candidate in fitting):
                candidate = variant.fastest(budget)
                fitting += [] if candidate is None else [candidate]
        return min(fitting, key=lambda candidate: candidate.seconds, default=None)

    def closest(self, *, most_parts: int, amp_dtypes: tuple[str | None, ...]) -> Candidate:
        """Return the way that takes the least memory.

        It is in one part, where no gradients wait for others to be added, or in as many as can be: of those that add
        gradients up, the smallest part takes the least.
        """
        found = [
            variant.smallest()
            for amp_dtype in amp_dtypes
            for variant in (self.leanest(amp_dtype), self.in_most_parts(most_parts, amp_dtype))
        ]
        found += [self.variant(1, amp_dtype).plain for amp_dtype in amp_dtypes]  # A large gradient alone may take more.
        return min(found, key=lambda candidate: candidate.peak)

    def in_most_parts(self, most_parts: int, amp_dtype: str | None = None) -> "Variant":
        """Return the step in the smallest micro-batches that the network allows."""
        *_, last = self.variants(most_parts, amp_dtype)
        return last


class Variant:
    """A step in a number of micro-batches: as it is, and with recomputation."""

    def __init__(self, search: Search, parts: int, amp_dtype: str | None, optimizer_in_backward: bool) -> None:
        self.search, self.parts, self.amp_dtype = search, parts, amp_dtype
        made: Any = search.make(parts, amp_dtype)
        self.program: Training = replace(made, optimizer_in_backward=optimizer_in_backward)
        self.graph, self.moments = self._traced(self.program)
        self.seconds, self.is_measured = search.times(amp_dtype).of(self.graph, -(-search.batch_size // parts))
        seconds = step_seconds(self.graph, self.seconds, parts)
        self.plain = Candidate(parts, amp_dtype, (), find_peak(self.moments).size, seconds, optimizer_in_backward)
        self._recomputation: Recomputation | None = None
        self._smallest: Candidate | None = None
        self._found: list[Candidate] = []

    def _traced(self, program: Training) -> tuple[OperatorGraph, list[Moment]]:
        search = self.search
        graph = search.device.traced(program, channels_last=search.channels_last)
        return graph, timeline(graph, search.device)

    @property
    def estimated_seconds(self) -> float:
        """The time of a step by the device's rates alone."""
        rates = self.search.times(self.amp_dtype).rates
        return step_seconds(self.graph, [rates.seconds(op, self.graph) for op in self.graph.operators], self.parts)

    @property
    def recomputation(self) -> Recomputation:
        """What can be recomputed of it."""
        if self._recomputation is None:
            self._recomputation = Recomputation(self.graph, self.moments, self.search.device, self.seconds)
        return self._recomputation

    def fastest(self, budget: int) -> Candidate | None:
        """Return the fastest way that fits, as its own trace says; None where there is none."""
        if self.plain.peak <= budget:
            return self.plain
        if self.recomputation.smallest() > HOPE * budget:
            return None
        aimed, further = budget, 1
        for _ in range(TRIES):
            candidate = self._with_budget(aimed)
            self._found += [] if candidate is None else [candidate]
            if candidate is None or candidate.peak <= budget:
                break
            # What the search counts and what the trace says may differ by as much again: it aims lower ever faster.
            aimed -= further * (candidate.peak - budget)
            further *= 2
        # What was found for other budgets may fit, too.
        fitting = [candidate for candidate in self._found if candidate.peak <= budget]
        if not fitting and (smallest := self.smallest()).peak <= budget:
            return smallest
        return min(fitting, key=lambda candidate: candidate.seconds, default=None)

    def smallest(self) -> Candidate:
        """Return the way that takes the least memory."""
        if self._smallest is None:
            self._smallest = self._find_smallest()
        return self._smallest

    def _find_smallest(self) -> Candidate:
        candidate = self._with_budget(self.recomputation.smallest())
        return self.plain if candidate is None or candidate.peak >= self.plain.peak else candidate

    def _with_budget(self, budget: int) -> Candidate | None:
        recomputation, graph = self.recomputation, self.graph
        found = recomputation.fastest(budget)
        if found is None:
            return None
        places = recomputation.places
        recompute = tuple(
            Recomputed(places[index], graph.operators[index].name, graph.layer_of(graph.operators[index]))
            for index in sorted(found.makers)
        )
        chosen = {recomputed.place: recomputed.operator for recomputed in recompute}
        planned: Any = replace(self.program, recompute=chosen)
        _, moments = self._traced(planned)
        seconds = self.plain.seconds + self.parts * found.seconds
        return replace(self.plain, recompute=recompute, peak=find_peak(moments).size, seconds=seconds)
