"""How large the blocks are that torch's caching allocator hands out on a CUDA card.

The allocator asks the driver for segments, and cuts what is asked of it from them, in multiples of 512 bytes. Up to
1 MiB is cut from segments of 2 MiB; up to 10 MiB from such of 20 MiB; what is larger gets a segment of its own, in
multiples of 2 MiB. What comes back is joined with what is free beside it, and the next request gets the smallest free
block that is large enough. Of a block for a large request, a rest of up to 1 MiB is not cut off. So it counts as taken,
and how much there is of it depends on what came before: it is found by following all requests of a run. (In torch's
words, ``max_memory_allocated`` counts blocks; ``requested_bytes``, what was asked for.)
"""

from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass, replace

from striate.graph.operators import BEFORE, OperatorGraph

MiB = 2**20
ROUNDED_TO = 512
SMALL, MIDDLE = MiB, 10 * MiB
SMALL_SEGMENT, MIDDLE_SEGMENT, STEP = 2 * MiB, 20 * MiB, 2 * MiB
RUNS = 2  # The first finds nothing free; what is measured, and a training's every step but the first, finds blocks.


def rounded(size: int) -> int:
    """Return the bytes of a block from which all that is not asked for is cut off."""
    return -(-size // ROUNDED_TO) * ROUNDED_TO


def with_blocks(graph: OperatorGraph) -> OperatorGraph:
    """Return a graph whose storages are as large as the blocks that they are in, when its program runs again."""
    born, died = defaultdict(list), defaultdict(list)
    for index, storage in enumerate(graph.storages):
        born[storage.born].append(index)
        if storage.born > BEFORE:
            died[len(graph.operators) - 1 if storage.died is None else storage.died].append(index)
    allocator, blocks = _Allocator(), dict[int, _Block]()
    for index in born[BEFORE]:
        blocks[index] = allocator.take(graph.storages[index].size)
    sizes = {index: block.size for index, block in blocks.items()}
    for _ in range(RUNS):
        for place in range(len(graph.operators)):
            for index in born[place]:
                blocks[index] = allocator.take(graph.storages[index].size)
                sizes[index] = blocks[index].size
            for index in died[place]:
                allocator.give_back(blocks.pop(index))
    storages = (replace(storage, size=sizes[index]) for index, storage in enumerate(graph.storages))
    return replace(graph, storages=tuple(storages))


@dataclass(slots=True, eq=False)
class _Block:
    """A part of a segment.

    Args:
        size: in bytes.
        segment: number of the segment.
        start: where it begins there.
        is_free: whether it can be handed out.
        before: the block that ends where it begins.
        after: the block that begins where it ends.
    """

    size: int
    segment: int
    start: int
    is_free: bool = False
    before: "_Block | None" = None
    after: "_Block | None" = None

    @property
    def key(self) -> tuple[int, int, int]:
        return self.size, self.segment, self.start


class _Allocator:
    def __init__(self) -> None:
        self._free: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}  # By whether they are small.
        self._blocks: dict[tuple[int, int], _Block] = {}
        self._small: dict[int, bool] = {}  # By segment.

    def take(self, size: int) -> _Block:
        """Hand out a block for so many bytes."""
        asked = rounded(size)
        small = asked <= SMALL
        block = self._best(asked, small) if asked else _Block(0, -1, 0)
        rest = block.size - asked
        if rest >= ROUNDED_TO if small else rest > SMALL:
            cut = _Block(rest, block.segment, block.start + asked, before=block, after=block.after)
            if block.after is not None:
                block.after.before = cut
            block.after, block.size = cut, asked
            self._keep(cut)
        return block

    def give_back(self, block: _Block) -> None:
        """Take a block back, and join it with what is free beside it."""
        if not block.size:
            return
        if block.before is not None and block.before.is_free:
            before = self._without(block.before)
            before.size, before.after = before.size + block.size, block.after
            block = before
        if block.after is not None and block.after.is_free:
            after = self._without(block.after)
            block.size, block.after = block.size + after.size, after.after
        if block.after is not None:
            block.after.before = block
        self._keep(block)

    def _best(self, size: int, small: bool) -> _Block:
        free = self._free[small]
        place = bisect_left(free, (size, 0, 0))
        if place < len(free):
            return self._without(self._blocks[free[place][1:]])
        segment = SMALL_SEGMENT if small else MIDDLE_SEGMENT if size < MIDDLE else -(-size // STEP) * STEP
        self._small[len(self._small)] = small
        return _Block(segment, len(self._small) - 1, 0)

    def _keep(self, block: _Block) -> None:
        block.is_free = True
        self._blocks[block.segment, block.start] = block
        insort(self._free[self._small[block.segment]], block.key)

    def _without(self, block: _Block) -> _Block:
        """Take a block from those that are free."""
        free = self._free[self._small[block.segment]]
        del free[bisect_left(free, block.key)]
        del self._blocks[block.segment, block.start]
        block.is_free = False
        return block
