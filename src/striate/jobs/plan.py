"""Make a training step fit into a budget: which remedies, and what they cost."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor, nn

from striate.errors import StriateError, UsageError
from striate.graph.programs import Program, Training
from striate.jobs.memory import find_budget
from striate.jobs.plan_search import MARGIN, WEIGHTS, changes_of_parts, make_plan, make_search
from striate.jobs.programs import ModelProgram, Settings, build_program
from striate.jobs.variations import possible
from striate.planning.plan import Plan, Remedy
from striate.planning.search import MakeProgram, Search
from striate.training.config import OptimizerName


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
    updates_early: bool = True,
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
        frontier: whether to find plans for larger budgets, too, and what each remedy does alone.
        updates_early: whether the optimizer may take its steps in the backward pass; not where something is done with
            all gradients at once, such as clipping.

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

    settings = Settings(batch_size, "training", optimizer, channels_last=channels_last)
    make = _maker(lambda: build_program(network, inputs, settings, loss, targets, foreach=gpu is not None))
    budget = find_budget(memory, gpu)
    name = str(dtype or torch.float32).removeprefix("torch.")
    search = make_search(*(make, batch_size, gpu, channels_last), updates_early=updates_early, dtype=name, limit=budget)
    return make_plan(
        search,
        budget,
        channels_last=channels_last,
        dtype=name,
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
    devices: int = 1,
) -> Plan:
    """Find the fastest way to train a network that a user names, as `plan` does.

    Args:
        program: what is trained.
        memory: as for `plan`, like what follows.
        lossless: whether only remedies are allowed that leave gradients equal.
        margin: share of the budget that is left free.
        gpu: the card.
        frontier: whether to find plans for larger budgets, too, and what each remedy does alone.
        allow: what may be changed of the network, where nothing fits otherwise; as for `variations`. Of all changes for
            which there is a plan, the one is taken whose plain step takes the most memory.
        devices: that share the batch. The plan is of one of them, its time without what adding up gradients takes.

    Raises:
        UsageError: for a budget or a number of devices that cannot be.
    """
    if not 1 <= devices <= program.settings.batch_size:
        raise UsageError(
            expected=f"1 to {program.settings.batch_size} devices for a batch of {program.settings.batch_size}",
            received=str(devices),
            remedy="Each has to get an image.",
        )
    budget = find_budget(memory, gpu)
    search_of = partial(_search_of, gpu=gpu, limit=budget)
    listed = partial(_search_of, gpu=gpu, limit=0)  # By what they are estimated to take.
    whole = search_of(program)  # On one device, as it is: what times compare with.
    one = program if devices == 1 else program.shared(devices)
    own = whole if devices == 1 else search_of(one)
    others = [(variation, listed(variation.program)) for variation in possible(one, allow)]

    def relative(search: Search) -> float:
        # Some may not have been measured.
        return search.variant(1).estimated_seconds / whole.variant(1).estimated_seconds

    def planned(search: Search, frontier: bool) -> Plan:
        settings, time = program.settings, relative(search)
        found = make_plan(
            search,
            budget,
            channels_last=settings.channels_last,
            dtype=settings.dtype,
            lossless=lossless,
            margin=margin,
            frontier=frontier,
        )
        return replace(
            found,
            devices=devices,
            plain_bytes=whole.variant(1).plain.peak,
            relative_time=time * found.relative_time,
            is_measured=found.is_measured and search is whole,
            remedies=tuple(replace(it, relative_time=time * it.relative_time) for it in found.remedies),
            frontier=tuple(replace(it, relative_time=time * it.relative_time) for it in found.frontier),
        )

    found = planned(own, frontier)
    remedies = list(found.remedies)
    if devices > 1:
        remedies.insert(
            0, Remedy(f"{devices} devices", own.variant(1).plain.peak, relative(own), changes_of_parts(own))
        )
    for halved in _in_16_bits(one) if frontier else ():
        other = listed(halved)
        name = f"weights of 16 bits{', masters of 32' * halved.settings.master_weights}"
        with suppress(RuntimeError, StriateError):  # What it makes of its own may not go with 16 bits.
            remedies.append(Remedy(name, other.variant(1).plain.peak, relative(other), WEIGHTS))
    for variation, other in others:
        remedies.append(Remedy(variation.name, other.variant(1).plain.peak, relative(other), variation.changes))
    if not found.fits:
        for variation, _ in sorted(others, key=lambda way: -way[1].variant(1).plain.peak):
            instead = planned(search_of(variation.program), False)
            if instead.fits:
                found = replace(instead, variation=variation.name)
                break
    return replace(found, remedies=tuple(remedies))


def _in_16_bits(program: ModelProgram) -> Iterator[ModelProgram]:
    """Yield a step with 16-bit weights, without master weights and with them."""
    if program.settings.dtype == "float32":
        for masters in (False, True):
            if program.settings.optimizer is not None or not masters:
                settings = replace(program.settings, dtype="bfloat16", master_weights=masters)
                yield replace(program, settings=settings)


def _search_of(program: ModelProgram, gpu: str | None, limit: int) -> Search:
    make, settings = step_maker(program, foreach=gpu is not None), program.settings
    early = not program.keeps_gradients  # Those of several devices are added up first.
    return make_search(*(make, settings.batch_size, gpu, None), updates_early=early, dtype=settings.dtype, limit=limit)


def step_maker(program: ModelProgram, *, foreach: bool) -> MakeProgram:
    """Return what makes a step for a number of micro-batches and autocast's type, on tensors without bytes.

    Args:
        program: whose step it is.
        foreach: as for `build_program`.
    """
    training = replace(program, settings=replace(program.settings, mode="training"))
    return _maker(lambda: training.build(foreach=foreach))


def _maker(build: Callable[[], Program]) -> MakeProgram:
    @cache
    def built() -> Training:
        with torch.device("meta"):
            made = build()
        assert isinstance(made, Training)
        return made

    def make(parts: int, amp_dtype: str | None) -> Training:
        return replace(built(), parts=parts, amp_dtype=None if amp_dtype is None else getattr(torch, amp_dtype))

    return make
