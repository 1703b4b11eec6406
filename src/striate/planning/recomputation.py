"""Which values to make again, so that a step fits: the fastest choice, by dynamic programming over the forward pass.

The forward pass is cut into stretches where few values are alive, and those are kept. A stretch may run over several
cuts; what it reads is then kept, and of the rest one of a few *levels* is dropped: nothing; what operators without
products can make again (norms, activations, sums, pooling); that and what cheap convolutions make; all that can be.

While a stretch's gradients are computed, all stretches behind it are done, and of those before it only what they keep
is there. So what it takes depends on one sum, the bytes that stretches before it do not keep. The search goes through
the cuts from first to last and holds, for each, the pairs of that sum and of the time that no other pair beats in both:
it is exact over these cuts, stretches and levels.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from striate.costing.devices.device import Device
from striate.costing.memory import Moment
from striate.graph.operators import Operator, OperatorGraph, Phase
from striate.planning.values import KEEP_ALL, Choice, Step, choose

MOST_CUTS = 64
SPAN = 16  # Cuts that a stretch may run over.


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the forward pass, and what is dropped of it.

    Args:
        first: the cut that it begins at.
        last: the cut that it ends at.
        choice: what is dropped.
        saved: bytes that are not kept.
        seconds: that it takes to make them again.
        needed: the most bytes during its forward pass and its gradients, with all that stretches before it make.
    """

    first: int
    last: int
    choice: Choice
    saved: int
    seconds: float
    needed: int


@dataclass(frozen=True, slots=True)
class Found:
    """A choice for the whole forward pass.

    Args:
        makers: the operators that run again, by their indices.
        seconds: that this takes.
    """

    makers: frozenset[int]
    seconds: float


class Recomputation:
    """All that can be recomputed of one step, and the search over it.

    Args:
        graph: of the step, as it runs without recomputation.
        moments: its timeline.
        device: that it runs on.
        seconds: that each operator takes.
    """

    def __init__(
        self, graph: OperatorGraph, moments: Sequence[Moment], device: Device, seconds: Sequence[float]
    ) -> None:
        self.graph, self.device, self.seconds = graph, device, seconds
        self.alive = [moment.size for moment in moments]
        self.step = Step.of(graph)
        self.cuts = self._find_cuts()
        self._levels = self._find_levels()
        self.ends = [-1, *self.cuts, len(self.step.forward) - 1]
        self._by_first: dict[int, list[Stretch]] = defaultdict(list)
        for stretch in self._find_stretches():
            self._by_first[stretch.first].append(stretch)

    @property
    def places(self) -> dict[int, int]:
        """The place of each forward operator, as `recomputing` counts them."""
        return {index: place for place, index in enumerate(self.step.forward)}

    def _find_cuts(self) -> list[int]:
        """Return positions among the forward operators behind which all that is still read is kept anyway."""
        step, forward = self.step, self.step.forward
        last = {storage: step.last_forward_read(storage) for storage in step.writers}
        alive: set[int] = set()
        largest = max((self.graph.storages[storage].size for storage in step.values), default=0)
        at: list[tuple[int, set[int], int]] = []  # Position, what is alive there, and its bytes.
        for position, index in enumerate(forward[:-1]):
            alive = {storage for storage in alive | step.writes[index] if last.get(storage, -1) > index}
            size = sum(self.graph.storages[storage].size for storage in alive)
            is_kept = all(s in step.values or self.graph.storages[s].size * 64 < largest for s in alive)
            if alive and is_kept and not (at and at[-1][1] == alive):
                at.append((position, alive, size))
        sizes = [size for _, _, size in at]
        low = [cut for place, cut in enumerate(at) if cut[2] <= min(sizes[max(place - 1, 0) : place + 2])]
        fewest = sorted(sorted(low, key=lambda cut: (len(cut[1]), cut[2]))[:MOST_CUTS], key=lambda cut: cut[0])
        return [position for position, _, _ in fewest]

    def _find_levels(self) -> list[frozenset[int]]:
        """Return the operators that may run again at each level, the least first."""
        heavy = [index for index in self.step.forward if self._has_weights(self.graph.operators[index])]
        light = frozenset(self.step.forward).difference(heavy)
        if not heavy:
            return [light]
        dear = median(map(self._price, heavy))
        cheap = {index for index in heavy if self._price(index) <= dear}
        return [light, light | cheap, light.union(heavy)]

    def _price(self, index: int) -> float:
        """Return the seconds for each byte that an operator makes."""
        made = self.graph.tensors[self.graph.operators[index].outputs[0]].size
        return self.seconds[index] / max(made, 1)

    @staticmethod
    def _has_weights(operator: Operator) -> bool:
        return operator.kind in {"convolution", "mm", "addmm", "bmm", "baddbmm", "mkldnn_rnn_layer"} or (
            operator.kind.startswith("_scaled_dot_product")
        )

    def _find_stretches(self) -> Iterator[Stretch]:
        for first in range(len(self.ends) - 1):
            for last in range(first + 1, min(first + SPAN, len(self.ends) - 1) + 1):
                operators = self.step.forward[self.ends[first] + 1 : self.ends[last] + 1]
                choices = {choose(self.step, operators, allowed): None for allowed in self._levels} | {KEEP_ALL: None}
                for choice in choices:
                    if choice.dropped or last == first + 1:
                        yield self._stretch(first, last, operators, choice)

    def _stretch(self, first: int, last: int, operators: Sequence[int], choice: Choice) -> Stretch:
        sizes = {storage: self.device.allocated(self.graph.storages[storage].size) for storage in choice.dropped}
        return Stretch(
            first,
            last,
            choice,
            sum(sizes.values()),
            sum(self.seconds[index] for index in choice.made_by),
            max(self._forward_need(operators, sizes), self._backward_need(operators, choice, sizes)),
        )

    def _forward_need(self, operators: Sequence[int], sizes: dict[int, int]) -> int:
        gone = sorted((self.step.last_forward_read(storage), size) for storage, size in sizes.items())
        ends, total, sums = [end for end, _ in gone], 0, [0]
        for _, size in gone:
            total += size
            sums.append(total)
        return max(self.alive[index] - sums[bisect_right(ends, index - 1)] for index in operators)

    def _backward_need(self, operators: Sequence[int], choice: Choice, sizes: dict[int, int]) -> int:
        waiting, missing, needed = set(choice.dropped), sum(sizes.values()), 0
        for index in sorted(i for operator in operators for i in self.step.backward.get(operator, ())):
            made: set[int] = set()
            for storage in self.step.reads[index] & waiting:
                self._make(storage, choice, waiting, made)
            again = waiting & made
            waiting -= again
            missing -= sum(sizes[storage] for storage in again)
            passing = sum(self.device.allocated(self.graph.storages[s].size) for s in made - again)
            needed = max(needed, self.alive[index] - missing + passing)
        return needed

    def _make(self, storage: int, choice: Choice, waiting: set[int], made: set[int]) -> None:
        """Collect what is made when a value is made again."""
        wanted = [storage]
        while wanted:
            storage = wanted.pop()
            if storage in made:
                continue
            made.add(storage)
            for index in self.step.writers[storage]:
                if index in choice.made_by:
                    read = self.step.reads[index]
                    wanted.extend(other for other in read if other in waiting or not self.step.is_kept(other))

    def fastest(self, budget: int) -> Found | None:
        """Return the choice that fits a budget in bytes and takes the least time; None where none fits."""
        arriving: list[list[_Front]] = [[] for _ in self.ends]
        arriving[0] = [_Front.of(np.zeros(1, np.int64), np.zeros(1), np.zeros(1, np.int64), None)]
        fronts: list[_Front] = []
        for cut, found in enumerate(arriving):
            front = _best(found)
            fronts.append(front)
            for stretch in self._from(cut):
                fits = np.flatnonzero(stretch.needed - front.saved <= budget)
                if fits.size:
                    saved, seconds = front.saved[fits] + stretch.saved, front.seconds[fits] + stretch.seconds
                    arriving[stretch.last].append(_Front.of(saved, seconds, fits, stretch))
        last = fronts[-1]
        fits = np.flatnonzero(self._loss_needs - last.saved <= budget)
        if not fits.size:
            return None
        way = int(fits[np.argmin(last.seconds[fits])])
        found_seconds, makers, cut = float(last.seconds[way]), set[int](), len(fronts) - 1
        while cut > 0:
            stretch = fronts[cut].stretches[way]
            makers |= stretch.choice.made_by
            cut, way = stretch.first, int(fronts[cut].before[way])
        return Found(frozenset(makers), found_seconds)

    def smallest(self) -> int:
        """Return the smallest budget in bytes that some choice fits."""
        low, high = 0, max(self.alive)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fits(middle) else (middle + 1, high)
        return high

    def _fits(self, budget: int) -> bool:
        # The more is not kept, the more fits: the time does not count here.
        most: list[int | None] = [None] * len(self.ends)
        most[0] = 0
        for cut in range(len(self.ends) - 1):
            saved = most[cut]
            for stretch in self._from(cut) if saved is not None else ():
                assert saved is not None
                if stretch.needed - saved <= budget:
                    most[stretch.last] = max(most[stretch.last] or 0, saved + stretch.saved)
        last = most[-1]
        return last is not None and self._loss_needs - last <= budget

    def _from(self, cut: int) -> Sequence[Stretch]:
        return self._by_first.get(cut, ())

    @property
    def _loss_needs(self) -> int:
        """Bytes of the loss, when nothing has been made again yet."""
        after = range(self.step.forward[-1], len(self.alive))
        return max((self.alive[i] for i in after if self.graph.operators[i].phase is Phase.LOSS), default=0)


@dataclass(frozen=True, slots=True)
class _Front:
    """Ways up to a cut.

    Args:
        saved: for each, the bytes that it does not keep.
        seconds: for each, the time that it takes to make them again.
        before: for each, its number among the ways up to the cut before.
        stretches: for each, the one that it ends with.
    """

    saved: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    before: npt.NDArray[np.int64]
    stretches: npt.NDArray[np.object_]

    @staticmethod
    def of(
        saved: npt.NDArray[np.int64],
        seconds: npt.NDArray[np.float64],
        before: npt.NDArray[np.int64],
        stretch: Stretch | None,
    ) -> "_Front":
        """Return ways that all end with one stretch; None where they begin."""
        stretches: npt.NDArray[np.object_] = np.full(saved.size, stretch, dtype=object)
        return _Front(saved, seconds, before, stretches)


def _best(found: Sequence[_Front]) -> _Front:
    """Keep the ways that no other beats both in bytes and in seconds."""
    if not found:
        return _Front.of(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), None)
    saved, seconds, before, stretches = (
        np.concatenate([getattr(front, name) for front in found])
        for name in ("saved", "seconds", "before", "stretches")
    )
    order = np.lexsort((seconds, -saved))
    fastest = np.minimum.accumulate(seconds[order])
    kept = order[np.concatenate([[True], fastest[1:] < fastest[:-1]])]
    return _Front(saved[kept], seconds[kept], before[kept], stretches[kept])
