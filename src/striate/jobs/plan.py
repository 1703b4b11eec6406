"""Make a training step fit into a budget: which remedies, and what they cost."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Literal

import torch
from torch import Tensor, nn

from striate.costing.memory import find_peak, timeline
from striate.errors import UsageError
from striate.graph.operators import Role
from striate.graph.programs import Inference, Training
from striate.graph.trace import trace
from striate.jobs.cost import find_device
from striate.jobs.memory import find_budget
from striate.jobs.operator_times import measured_times
from striate.jobs.programs import ModelProgram, Settings, build_program
from striate.jobs.variations import Variation, variations
from striate.planning.plan import Plan, Point, Remedy
from striate.planning.search import Candidate, MakeProgram, Search
from striate.planning.times import TYPICAL_CARD, Rates, Times, measure_rates
from striate.training.config import OptimizerName

MARGIN = 0.02
POINTS = 5

ROUNDING = "rounding"
STATISTICS = "batch norm's statistics"


def plan(
    network: nn.Module,
    input_shape: Sequence[int],
    *,
    batch_size: int,
    memory: str | int | None = None,
    optimizer: OptimizerName | None = "momentum",
    channels_last: bool = True,
    lossless: bool = False,
    margin: float = MARGIN,
    loss: Callable[..., Tensor] | None = None,
    targets: Sequence[Tensor] = (),
    gpu: str | None = None,
    frontier: bool = True,
) -> Plan:
    """Find the fastest way to train a network on batches of a size within a budget.

    Args:
        network: any module; it is not changed. A copy of it takes a step of few images, to be timed.
        input_shape: of one image, channels x height x width.
        batch_size: images of a step.
        memory: bytes that it may take, such as ``"4GiB"`` or ``"80%"``; all that ``gpu`` has by default.
        optimizer: whose state counts; None for none.
        channels_last: memory layout of images and kernels.
        lossless: whether only remedies are allowed that leave gradients equal, bit for bit.
        margin: share of the budget that is left free, for what is bounded and not known.
        loss: of output and targets, as for `striate.cost`.
        targets: what ``loss`` takes besides the output.
        gpu: a card that it is planned for, by name or memory; the CPU by default.
        frontier: whether to find plans for larger budgets, too.

    Returns:
        The plan; one that does not fit, but comes closest, where none does.

    Raises:
        UsageError: for a budget or a batch that cannot be.
    """
    if batch_size < 1 or not 0 <= margin <= 1:
        raise UsageError(
            expected="a batch of 1 image or more, and a margin from 0 to 1",
            received=f"batch_size={batch_size}, margin={margin}",
            remedy="Give other numbers.",
        )
    dtype = next((parameter.dtype for parameter in network.parameters()), None)
    inputs = [torch.empty(batch_size, *input_shape, dtype=dtype, device="meta")]

    def make(parts: int, amp_dtype: str | None) -> Training:
        settings = _settings(batch_size, optimizer, channels_last, parts, amp_dtype)
        with torch.device("meta"):
            built = build_program(network, inputs, settings, loss, targets, foreach=gpu is not None)
        assert isinstance(built, Training)
        return built

    budget = find_budget(memory, gpu)
    amp_dtypes = (None, "bfloat16") if dtype in (None, torch.float32) else (None,)
    search = make_search(make, batch_size, gpu, channels_last, amp_dtypes=amp_dtypes, limit=budget)
    return make_plan(
        search,
        budget,
        channels_last=channels_last,
        dtype=str(dtype or torch.float32).removeprefix("torch."),
        lossless=lossless,
        margin=margin,
        frontier=frontier,
    )


def plan_of_model(
    program: ModelProgram,
    memory: str | int | None,
    *,
    lossless: bool = False,
    margin: float = MARGIN,
    gpu: str | None = None,
    frontier: bool = True,
    allow: Collection[str] = (),
) -> Plan:
    """Find the fastest way to train a network that a user names, as `plan` does.

    Args:
        program: what is trained.
        memory: as for `plan`, like what follows.
        lossless: whether only remedies are allowed that leave gradients equal.
        margin: share of the budget that is left free.
        gpu: the card.
        frontier: whether to find plans for larger budgets, too.
        allow: what may be changed of the network, where nothing fits otherwise; as for `variations`. Of all changes for
            which there is a plan, the one is taken whose plain step takes the most memory.
    """
    budget = find_budget(memory, gpu)
    search_of = partial(_search_of, gpu=gpu, limit=budget)

    def planned(search: Search, frontier: bool) -> Plan:
        settings = program.settings
        return make_plan(
            search,
            budget,
            channels_last=settings.channels_last,
            dtype=settings.dtype,
            lossless=lossless,
            margin=margin,
            frontier=frontier,
        )

    own = search_of(program)
    found = planned(own, frontier)
    seconds = own.variant(1).estimated_seconds  # Some may not have been measured.
    others = [(variation, search_of(variation.program)) for variation in _possible(program, allow)]
    remedies = tuple(
        Remedy(
            variation.name, other.variant(1).plain.peak, other.variant(1).estimated_seconds / seconds, variation.changes
        )
        for variation, other in others
    )
    if not found.fits:
        for variation, other in sorted(others, key=lambda way: -way[1].variant(1).plain.peak):
            instead = planned(other, False)
            if instead.fits:
                relative = instead.relative_time * other.variant(1).estimated_seconds / seconds
                found = replace(
                    instead,
                    variation=variation.name,
                    relative_time=relative,
                    plain_bytes=found.plain_bytes,
                    remedies=found.remedies,
                )
                break
    return replace(found, remedies=(*found.remedies, *remedies))


def _search_of(program: ModelProgram, gpu: str | None, limit: int) -> Search:
    make = partial(make_step, program, gpu is not None)
    amp_dtypes = (None, "bfloat16") if program.settings.dtype == "float32" else (None,)
    return make_search(make, program.settings.batch_size, gpu, None, amp_dtypes=amp_dtypes, limit=limit)


def _possible(program: ModelProgram, allow: Collection[str]) -> Iterator[Variation]:
    for variation in variations(program, allow):
        try:
            make_step(variation.program, False, 1, None)
        except UsageError:  # Images may become too small for a network.
            continue
        yield variation


def make_step(program: ModelProgram, foreach: bool, parts: int, amp_dtype: Literal["bfloat16"] | None) -> Training:
    """Return a step in a number of micro-batches, on tensors without bytes; arguments as for `build_program`."""
    settings = replace(program.settings, mode="training", micro_batches=parts, amp_dtype=amp_dtype)
    with torch.device("meta"):
        built = replace(program, settings=settings).build(foreach=foreach)
    assert isinstance(built, Training)
    return built


def _settings(
    batch_size: int, optimizer: OptimizerName | None, channels_last: bool, parts: int, amp_dtype: str | None
) -> Settings:
    amp: Literal["bfloat16"] | None = None if amp_dtype is None else "bfloat16"
    return Settings(batch_size, "training", optimizer, "float32", amp, channels_last, parts)


def make_search(
    make: MakeProgram,
    batch_size: int,
    gpu: str | None,
    channels_last: bool | None,
    *,
    counts: Collection[int] = (),
    amp_dtypes: tuple[str | None, ...] = (None, "bfloat16"),
    limit: int = 0,
) -> Search:
    """Return the search over the ways to take a step, on the CPU or a card.

    Args:
        make: as for `Search`, like what follows.
        batch_size: images of the step.
        gpu: the card; None for the CPU.
        channels_last: memory layout of images and kernels, where the programs do not have it yet.
        counts: sizes of all batches that occur.
        amp_dtypes: of autocast, that may be chosen; not where weights have 16 bits, or the programs use it already.
        limit: bytes that may be taken to measure times; by default they are estimated.
    """
    device = find_device(gpu)
    kind = "cpu" if gpu is None else "cuda"
    is_here = kind == "cpu" or torch.cuda.is_available()

    def rates(amp_dtype: str | None) -> Rates:
        if is_here:
            return measure_rates(kind, amp_dtype)
        return replace(TYPICAL_CARD, macs=TYPICAL_CARD.macs * (1 if amp_dtype is None else 4))

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

    return Search(make, batch_size, device, times_of, channels_last=channels_last, counts=counts, amp_dtypes=amp_dtypes)


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
        lossless: whether only recomputation is allowed.
        margin: share of the budget that is left free.
        frontier: whether to find plans for other budgets, too, and the smallest budget for which there is one.
        held: bytes that are there throughout, besides what the search's programs hold.
    """
    limit = int(budget / (1 + margin)) - held
    plain = search.variant(1).plain
    amp_dtypes = (None,) if lossless else search.amp_dtypes
    most_parts = 1 if lossless else search.batch_size
    found = plain if plain.peak <= limit else search.fastest(limit, most_parts=most_parts, amp_dtypes=amp_dtypes)
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
    )


def _evaluation(search: Search, chosen: Candidate, limit: int) -> tuple[int, int]:
    """Return how many images validation can take at once, between two steps, and its peak."""
    variant = search.variant(chosen.parts, chosen.amp_dtype)
    program, graph = variant.program, variant.graph
    state = sum(search.device.allocated(s.size) for s in graph.storages if s.role is Role.STATE)
    size = search.batch_size
    while True:
        inputs = [tensor[:size] for tensor in program.inputs]
        predicted = trace(Inference(program.network, inputs, program.amp_dtype), channels_last=search.channels_last)
        peak = find_peak(timeline(search.device.completed(predicted), search.device)).size + state
        if peak <= limit or size == 1:
            return size, peak
        size //= 2


def _remedies(search: Search) -> Iterator[Remedy]:
    plain = search.variant(1).plain
    alone: dict[str, tuple[Candidate, str]] = {}
    parts = search.in_most_parts(search.batch_size)
    if parts.parts > 1:
        size = -(-search.batch_size // parts.parts)
        alone[f"micro-batches of {size}"] = parts.plain, STATISTICS
    if "bfloat16" in search.amp_dtypes:
        alone["16-bit floats"] = search.variant(1, "bfloat16").plain, ROUNDING
    alone["recomputation"] = search.variant(1).smallest(), ""
    for name, (candidate, changes) in alone.items():
        yield Remedy(name, candidate.peak, candidate.seconds / plain.seconds, changes)


def _frontier(search: Search, plain: Candidate) -> Iterator[Point]:
    """Yield plans that leave gradients as they are, from the plain step down to the smallest."""
    variant = search.variant(1)
    smallest = variant.smallest()
    steps = [plain.peak - (plain.peak - smallest.peak) * step // POINTS for step in range(1, POINTS)]
    for candidate in (plain, *(variant.fastest(budget) for budget in steps), smallest):
        if candidate is not None:
            yield Point(candidate.peak, candidate.seconds / plain.seconds, search.batch_size, len(candidate.recompute))
