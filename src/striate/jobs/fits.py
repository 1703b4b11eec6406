"""The largest batch that fits into a budget, plain and with each remedy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

from striate.jobs.memory import find_budget
from striate.jobs.plan import step_maker
from striate.jobs.plan_search import MARGIN, make_search
from striate.jobs.programs import ModelProgram
from striate.planning.search import Candidate, Search


@dataclass(frozen=True, slots=True)
class Fit:
    """The largest batch that fits, in one way.

    Args:
        name: of the remedy; ``plain`` for none.
        batch_size: 0 where not one image fits.
        peak_bytes: of a step with it.
        relative_time: for an image, to a plain step of as few images as can be.
    """

    name: str
    batch_size: int
    peak_bytes: int
    relative_time: float


def what_fits(
    program: ModelProgram,
    memory: str | int | None,
    *,
    lossless: bool = False,
    margin: float = MARGIN,
    gpu: str | None = None,
) -> Iterator[Fit]:
    """Yield the largest batch that fits, plain and with each remedy; arguments as for `plan_of_model`."""
    limit = int(find_budget(memory, gpu) / (1 + margin))

    @cache
    def search(batch_size: int) -> Search:
        sized = replace(program, settings=replace(program.settings, batch_size=batch_size))
        return make_search(step_maker(sized, foreach=gpu is not None), batch_size, gpu, None)

    ways: dict[str, Callable[[int], Candidate]] = {"plain": lambda size: search(size).variant(1).plain}
    may_cast = program.settings.dtype == "float32" and not lossless
    if may_cast:
        ways["16-bit floats"] = lambda size: search(size).variant(1, "bfloat16").plain
    if program.settings.optimizer is not None:
        ways["gradients freed early"] = lambda size: search(size).leanest().plain
    ways["recomputation"] = lambda size: search(size).variant(1).smallest()
    ways["all of these"] = lambda size: search(size).leanest("bfloat16" if may_cast else None).smallest()
    first = 1 if search(2).takes_one_image else 2
    reference = ways["plain"](first).seconds / first
    for name, way in ways.items():
        size = largest_batch(partial(_peak, way), limit, first)
        found = way(max(size, first))
        yield Fit(name, size, found.peak, found.seconds / max(size, first) / reference)


def _peak(way: Callable[[int], Candidate], size: int) -> int:
    return way(size).peak


def largest_batch(peak: Callable[[int], int], limit: int, first: int = 1) -> int:
    """Return the largest batch whose peak is within a limit; 0 where there is none.

    A peak is nearly a constant and so much for each image: between a size that fits and one that does not, the next one
    tried is where a straight line would cross the limit, or their middle where that narrowed it little.

    Args:
        peak: bytes by batch size, growing with it.
        limit: in bytes.
        first: the smallest batch that there can be.
    """
    low, low_peak, high, high_peak = 0, 0, first, peak(first)
    while high_peak <= limit:
        low, low_peak, high = high, high_peak, 2 * high
        high_peak = peak(high)
    halve = False
    while low and high - low > 1:
        width = high - low
        crossing = low + (limit - low_peak) * width // max(high_peak - low_peak, 1)
        size = low + width // 2 if halve else min(max(crossing, low + 1), high - 1)
        found = peak(size)
        if found <= limit:
            low, low_peak = size, found
        else:
            high, high_peak = size, found
        halve = 2 * (high - low) > width
    return low
