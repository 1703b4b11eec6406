"""Searches and plans for a budget: what `plan` and a training run share."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cache

import torch

from striate.costing.memory import evaluation_peak
from striate.jobs.cost import find_device
from striate.jobs.operator_times import measured_times
from striate.planning.plan import Plan, Point, Remedy
from striate.planning.search import AMP_DTYPES, Candidate, MakeProgram, Search
from striate.planning.times import TYPICAL_CARD, Rates, Times, measure_rates

MARGIN = 0.02
POINTS = 5

ROUNDING = "rounding"
WEIGHTS = "rounding, of weights too"
STATISTICS = "batch norm's statistics"


def make_search(
    make: MakeProgram,
    batch_size: int,
    gpu: str | None,
    channels_last: bool | None,
    *,
    counts: Collection[int] = (),
    amp_dtypes: tuple[str | None, ...] = AMP_DTYPES,
    updates_early: bool = True,
    dtype: str = "float32",
    limit: int = 0,
) -> Search:
    """Return the search over the ways to take a step, on the CPU or a card.

    Args:
        make: as for `Search`, like what follows.
        batch_size: images of the step.
        gpu: the card; None for the CPU.
        channels_last: memory layout of images and kernels, where the programs do not have it yet.
        counts: sizes of all batches that occur.
        amp_dtypes: of autocast, that may be chosen for weights of 32 bits; not where the programs use it already.
        updates_early: as for `Search`.
        dtype: of weights.
        limit: bytes that may be taken to measure times; by default they are estimated.
    """
    device = find_device(gpu)
    kind = "cpu" if gpu is None else "cuda"
    is_here = kind == "cpu" or torch.cuda.is_available()
    amp_dtypes = amp_dtypes if dtype == "float32" else (None,)

    def rates(amp_dtype: str | None) -> Rates:
        half = dtype if dtype in AMP_DTYPES else amp_dtype
        if is_here:
            return measure_rates(kind, half)
        return replace(TYPICAL_CARD, macs=TYPICAL_CARD.macs * (1 if half is None else 4))

    @cache
    def times() -> dict[str | None, Times]:
        found = {
            amp_dtype: measured_times(make(1, amp_dtype), rates(amp_dtype), device, kind, limit, channels_last)
            for amp_dtype in amp_dtypes
            if is_here and limit
        }
        # What is measured is not compared with what is estimated, nor with what was measured on other sizes.
        return found if len({tuple(one.measured) for one in found.values()}) == 1 else {}

    def times_of(amp_dtype: str | None) -> Times:
        return times().get(amp_dtype) or Times(rates(amp_dtype), {})

    return Search(
        *(make, batch_size, device, times_of),
        channels_last=channels_last,
        counts=counts,
        amp_dtypes=amp_dtypes,
        updates_early=updates_early,
    )


def make_plan(
    search: Search,
    budget: int,
    *,
    channels_last: bool,
    dtype: str = "float32",
    lossless: bool = False,
    margin: float = MARGIN,
    frontier: bool = False,
    held: int = 0,
) -> Plan:
    """Return the fastest plan that a search finds for a budget, or else the closest.

    Args:
        search: over the ways to take a step.
        budget: in bytes.
        channels_last: memory layout of images and kernels.
        dtype: of weights.
        lossless: whether only what leaves gradients equal is allowed.
        margin: share of the budget that is left free.
        frontier: whether to find plans for other budgets, too, and the smallest budget for which there is one.
        held: bytes that are there throughout, besides what the search's programs hold.
    """
    limit = int(budget / (1 + margin)) - held
    plain = search.variant(1).plain
    amp_dtypes = (None,) if lossless else search.amp_dtypes
    most_parts = 1 if lossless else search.batch_size
    is_enough = None in amp_dtypes and plain.peak <= limit
    found = plain if is_enough else search.fastest(limit, most_parts=most_parts, amp_dtypes=amp_dtypes)
    closest = search.closest(most_parts=most_parts, amp_dtypes=amp_dtypes) if found is None or frontier else None
    chosen = found or closest
    assert chosen is not None
    evaluation_batch, evaluation_bytes = _evaluation(search, chosen, limit)
    return Plan(
        fits=found is not None and evaluation_bytes <= limit,
        budget_bytes=budget,
        peak_bytes=chosen.peak + held,
        plain_bytes=plain.peak + held,
        smallest_budget_bytes=None if closest is None else -int(-(closest.peak + held) * (1 + margin) // 1),
        relative_time=chosen.seconds / plain.seconds,
        is_measured=all(search.variant(way.parts, way.amp_dtype).is_measured for way in (plain, chosen)),
        batch_size=search.batch_size,
        micro_batch=-(-search.batch_size // chosen.parts),
        accumulate=chosen.parts,
        evaluation_batch=evaluation_batch,
        evaluation_bytes=evaluation_bytes + held,
        dtype=dtype,
        amp_dtype=chosen.amp_dtype,
        channels_last=channels_last,
        recompute=chosen.recompute,
        remedies=tuple(_remedies(search)) if frontier else (),
        frontier=tuple(dict.fromkeys(_frontier(search, plain))) if frontier else (),
        optimizer_in_backward=chosen.optimizer_in_backward,
    )


def _evaluation(search: Search, chosen: Candidate, limit: int) -> tuple[int, int]:
    """Return how many images validation can take at once, between two steps, and its peak."""
    variant = search.variant(chosen.parts, chosen.amp_dtype)
    size = search.batch_size
    while True:
        peak = evaluation_peak(
            *(variant.program, variant.graph, search.device), size=size, channels_last=search.channels_last
        )
        if peak <= limit or size == 1:
            return size, peak
        size //= 2


def changes_of_parts(search: Search) -> str:
    """Say what a batch in parts changes: sums have another order, and batch norm sees one part at a time."""
    has_norm = any("batch_norm" in operator.name for operator in search.variant(1).graph.operators)
    return STATISTICS if has_norm else ROUNDING


def _remedies(search: Search) -> Iterator[Remedy]:
    plain = search.variant(1).plain
    alone: dict[str, tuple[Candidate, str]] = {}
    parts = search.in_most_parts(search.batch_size)
    if parts.parts > 1:
        size = -(-search.batch_size // parts.parts)
        alone[f"micro-batches of {size}"] = parts.plain, changes_of_parts(search)
    if "bfloat16" in search.amp_dtypes:
        alone["16-bit floats"] = search.variant(1, "bfloat16").plain, ROUNDING
    if search.leanest() is not search.variant(1):
        alone["gradients freed early"] = search.leanest().plain, ""
    alone["recomputation"] = search.variant(1).smallest(), ""
    for name, (candidate, changes) in alone.items():
        yield Remedy(name, candidate.peak, candidate.seconds / plain.seconds, changes)


def _frontier(search: Search, plain: Candidate) -> Iterator[Point]:
    """Yield plans that leave gradients as they are, from the plain step down to the smallest."""
    variant = search.leanest()
    smallest = variant.smallest()
    steps = [plain.peak - (plain.peak - smallest.peak) * step // POINTS for step in range(1, POINTS)]
    for candidate in (plain, *(variant.fastest(budget) for budget in steps), smallest):
        if candidate is not None:
            yield Point(candidate.peak, candidate.seconds / plain.seconds, search.batch_size, len(candidate.recompute))
