"""What of a training step can be made again: the values that autograd keeps, and the operators that make them.

A value is the storage of a map that the forward pass makes and the backward pass reads. It can be made again by the
operators that wrote it, if these draw no random numbers and what they read is there: a parameter or an input, a value
that is kept and does not change any more, or one that can be made again itself.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from striate.graph.operators import BEFORE, OperatorGraph, Phase, Role
from striate.graph.recompute import is_large

SMALL = 1 / 64  # Of the largest value, up to which one is not worth making again.


@dataclass(slots=True)
class Step:
    """The last micro-batch of a training step, as its operator graph has it.

    Args:
        graph: of the step.
        forward: indices of its forward operators that do more than look at a tensor in another way, in their order.
        backward: for each of them, the indices of its gradient's operators.
        writers: for each storage that forward operators wrote, the indices of those and of the loss's that did.
        readers: for each storage, the indices of the operators that read it, forward, loss and backward.
        values: storages that autograd keeps, made by these forward operators.
        reads: for each operator of the graph, the storages that it reads.
        writes: for each, the storages that it makes or changes.
        needs: for each forward operator, storages that have to be made again for it to run again, besides those that
            are there in the backward pass; None where it cannot.
    """

    graph: OperatorGraph
    forward: list[int] = field(default_factory=list)
    backward: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    writers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    readers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    values: set[int] = field(default_factory=set)
    reads: list[frozenset[int]] = field(default_factory=list)
    writes: list[frozenset[int]] = field(default_factory=list)
    needs: dict[int, frozenset[int] | None] = field(default_factory=dict)
    _last_read: dict[int, int] = field(default_factory=dict)

    @staticmethod
    def of(graph: OperatorGraph) -> "Step":
        """Find what there is to keep in a training step."""
        step, operators = Step(graph), graph.operators
        step.reads = [frozenset(graph.tensors[tensor].storage for tensor in op.inputs) for op in operators]
        step.writes = [frozenset(graph.tensors[tensor].storage for tensor in op.outputs) for op in operators]
        first = last_forward_start(graph)
        last = max(index for index, operator in enumerate(operators) if operator.phase is Phase.FORWARD)
        step.forward = [index for index in range(first, last + 1) if not operators[index].view]
        for index in range(first, len(operators)):
            operator = operators[index]
            if operator.forward is not None and operator.forward >= first:
                step.backward[operator.forward].append(index)
            for storage in step.reads[index]:
                step.readers[storage].append(index)
        for index in step.forward:
            for storage in step.writes[index]:
                step.writers[storage].append(index)
        for index in range(last + 1, len(operators)):  # A loss may change in place what the network made.
            if operators[index].phase is Phase.LOSS and not operators[index].view:
                for storage in step.writes[index] & step.writers.keys():
                    step.writers[storage].append(index)
        largest = max((graph.storages[s].size for s in step.writers if step._is_saved(s)), default=0)
        step.values = {s for s in step.writers if step._is_saved(s) and graph.storages[s].size >= SMALL * largest}
        step.needs = {index: step._needed(index) for index in step.forward}
        return step

    def _is_saved(self, storage: int) -> bool:
        return self.graph.storages[storage].role is Role.SAVED

    def _needed(self, index: int) -> frozenset[int] | None:
        operator, tensors = self.graph.operators[index], self.graph.tensors
        if operator.random:
            return None
        sizes = [tensors[tensor].size for tensor in operator.outputs]
        first = tensors[operator.inputs[0]].storage if operator.inputs else None
        needed = set()
        for tensor, size in zip(operator.outputs, sizes, strict=True):
            storage = tensors[tensor].storage
            if self.is_permanent(storage) or self.writers[storage][0] != index:
                if storage != first:
                    return None  # It changes something that is not made anew, such as statistics.
                needed.add(storage)
            elif not is_large(size, sizes) and storage in self.values:
                return None
        for storage in self.reads[index]:
            if not self.is_kept(storage) or max(self.writers[storage], default=BEFORE) >= index:
                needed.add(storage)
        return frozenset(needed)

    def is_permanent(self, storage: int) -> bool:
        """Tell whether a storage was there before the step."""
        return self.graph.storages[storage].born == BEFORE

    def is_kept(self, storage: int) -> bool:
        """Tell whether a storage is there in the backward pass, as long as nothing is dropped."""
        return self.is_permanent(storage) or self._is_saved(storage)

    def last_forward_read(self, storage: int) -> int:
        """Return the last operator before the backward pass that reads or writes a storage."""
        if storage not in self._last_read:
            before = [i for i in self.readers[storage] if self.graph.operators[i].phase in (Phase.FORWARD, Phase.LOSS)]
            self._last_read[storage] = max(before + self.writers[storage], default=BEFORE)
        return self._last_read[storage]


def last_forward_start(graph: OperatorGraph) -> int:
    """Return the index at which the forward pass of a step's last micro-batch begins."""
    operators = graph.operators
    index = max(index for index, operator in enumerate(operators) if operator.phase is Phase.FORWARD)
    while index > 0 and operators[index - 1].phase is Phase.FORWARD:
        index -= 1
    return index


@dataclass(frozen=True, slots=True)
class Choice:
    """What is not kept of a stretch of the forward pass.

    Args:
        dropped: the values.
        made_by: the operators that make them again.
    """

    dropped: frozenset[int]
    made_by: frozenset[int]


KEEP_ALL = Choice(frozenset(), frozenset())


def choose(step: Step, stretch: Sequence[int], allowed: Collection[int]) -> Choice:
    """Drop all of a stretch's values that some of its operators can make again.

    Args:
        step: that it is of.
        stretch: forward operators, in their order.
        allowed: operators that may run again.
    """
    makeable: set[int] = set()
    made: set[int] = set()  # Storages that hold what makeable operators wrote.
    for index in stretch:
        needed = step.needs[index]
        if needed is not None and index in allowed and needed <= made:
            makeable.add(index)
            made |= step.writes[index]
        else:
            made -= step.writes[index]
    dropped = frozenset(
        storage
        for storage in made & step.values
        if step.last_forward_read(storage) <= stretch[-1] and makeable.issuperset(step.writers[storage])
    )
    return Choice(dropped, _makers(step, dropped, makeable))


def _makers(step: Step, dropped: Collection[int], makeable: Collection[int]) -> frozenset[int]:
    """Return the operators that make values, and what these read that nobody keeps."""
    wanted = [index for storage in dropped for index in step.writers[storage]]
    found: set[int] = set()
    while wanted:
        index = wanted.pop()
        if index in found:
            continue
        found.add(index)
        for storage in step.reads[index]:
            if storage in dropped or not step.is_kept(storage):
                wanted.extend(writer for writer in step.writers[storage] if writer <= index and writer in makeable)
    return frozenset(found)
