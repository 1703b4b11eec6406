"""A plan for a training run: its network, its loss and its optimizer, within the memory that it was granted."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import ceil, prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.costing.memory import evaluation_peak, find_peak, timeline
from striate.errors import BudgetError, UsageError
from striate.graph.programs import Training
from striate.jobs.cost import cost_of_model, find_device
from striate.jobs.memory import find_budget
from striate.jobs.networks import InputSpec
from striate.jobs.plan_search import make_plan, make_search
from striate.jobs.preparation import Prepared
from striate.jobs.programs import ModelProgram, Settings
from striate.jobs.variations import possible
from striate.planning.apply import apply_plan
from striate.planning.plan import Plan, read_plan
from striate.planning.search import AMP_DTYPES
from striate.training.config import TrainConfig
from striate.training.optimizers import optimizer_of
from striate.units import format_bytes

LESS = 0.9  # Of a budget that turned out to be too large.
MIXED = 2  # Copies of the images that mixup makes: the partners, and the mixture.


def plan_training(
    config: TrainConfig, prepared: Prepared, devices: int = 1, amp_dtypes: tuple[str | None, ...] = AMP_DTYPES
) -> Plan:
    """Return how to take the steps of a run within ``config.memory``.

    Args:
        config: of the run, with its images' size and channels.
        prepared: the run; its network gets its memory layout.
        devices: processes that share each batch; the plan is of the one with the most images.
        amp_dtypes: of autocast, that may be chosen where the run does not say.

    Raises:
        BudgetError: where nothing fits, with the smallest budget that would.
    """
    smallest, batch_size = _batches(config, prepared, devices)
    make = _step_maker(config, prepared, batch_size, devices)
    gpu = _card(config)
    budget = find_budget(config.memory, gpu)
    search = make_search(
        *(make, batch_size, gpu, None),
        counts=(smallest,),
        amp_dtypes=(None,) if config.amp else amp_dtypes,
        updates_early=_updates_early(config, devices),
        dtype=config.dtype,
        limit=budget,
    )
    found = make_plan(
        search,
        budget,
        channels_last=config.channels_last,
        dtype=config.dtype,
        lossless=config.lossless,
        margin=config.margin,
        held=_held(config, prepared.network, batch_size),
    )
    if not found.fits:
        raise BudgetError(
            expected=f"a way to train {config.model} on {batch_size} images a step within {format_bytes(budget)}"
            f"{f' in each of {devices} processes' if devices > 1 else ''}",
            received=f"{format_bytes(found.peak_bytes)} at the least",
            remedy=f"Grant --memory {found.smallest_budget_bytes} (bytes), or take smaller images, a smaller "
            f"network or a smaller --batch-size{'; leave --lossless out' if config.lossless else ''}.",
        )
    return replace(found, devices=devices)


def smaller_plan(config: TrainConfig, prepared: Prepared, folder: Path, plan: Plan) -> Plan:
    """Return a plan for less memory than one with which the device had too little; arguments as for `plan_training`.

    Raises:
        BudgetError: where nothing less does; ``folder`` is where the run can go on from.
    """
    apply_plan(replace(plan, recompute=(), optimizer_in_backward=False), prepared.network)  # It is traced as it is.
    less = config.model_copy(update={"memory": str(int(LESS * min(plan.budget_bytes, plan.peak_bytes)))})
    try:
        found = plan_training(less, prepared, amp_dtypes=(plan.amp_dtype,))
    except BudgetError as none:
        raise BudgetError(
            expected=f"the {format_bytes(plan.peak_bytes)} that this run was planned for",
            received=f"less: the device ran out of memory, and this run takes {none.received}",
            remedy=f"Free some of the device's memory, and go on with: striate train --resume {folder}; all up to the "
            "last checkpoint is saved.",
        ) from None
    return replace(found, variation=plan.variation)


def allowed_changes(
    config: TrainConfig, num_classes: int, options: Mapping[str, Any]
) -> Iterator[tuple[str, TrainConfig]]:
    """Yield what may be changed of a run, by what is done; first what takes the most memory as it is.

    Args:
        config: of the run, with its images' size and channels.
        num_classes: that it learns, or 1 for numbers.
        options: that the network is built with.
    """
    assert config.image_size is not None
    settings = Settings(config.batch_size, "training", config.opt, channels_last=config.channels_last)
    images = InputSpec((config.in_chans or 1, *config.image_size))
    program = ModelProgram(config.model, (images,), settings, num_classes, options=options)
    ways = [(cost_of_model(variation.program).peak.size, variation) for variation in possible(program, config.allow)]
    for _, variation in sorted(ways, key=lambda way: -way[0]):
        changed = variation.program
        (_, height, width) = changed.inputs[0].shape
        update = {"model": changed.model, "image_size": (height, width), "model_kwargs": dict(changed.options)}
        yield variation.name, config.model_copy(update=update)


def fitting_plan(config: TrainConfig, prepared: Prepared, path: str, devices: int = 1) -> Plan:
    """Return the plan in a file, with the peak that it has in this run.

    Args:
        config: of the run, with its images' size and channels.
        prepared: the run; its network gets its memory layout.
        path: of the file.
        devices: processes that share each batch.

    Raises:
        StriateError: where there is no plan, or it is not for such a network, or for other batches, another layout or
            less change of the result than it makes, or this run would pass its budget with it.
    """
    plan = read_plan(path)
    sizes = _batches(config, prepared, devices)
    changes = plan.accumulate > 1 or plan.amp_dtype is not None
    is_own = not plan.variation and plan.devices == devices and plan.dtype == config.dtype
    is_like = plan.fits and is_own and plan.batch_size >= max(sizes)
    if plan.optimizer_in_backward and not _updates_early(config, devices):
        raise UsageError(
            expected="a plan that keeps all gradients until the step ends, to clip or to scale them",
            received=f"{plan.in_words()}, in {path}",
            remedy=f"Leave --clip-grad and float16 out, or give --memory {plan.budget_bytes} (bytes) instead.",
        )
    if not is_like or plan.channels_last != config.channels_last or (config.lossless and changes):
        lossless = " without micro-batches and 16-bit floats" if config.lossless else ""
        raise UsageError(
            expected=f"a plan for batches of {max(sizes)} or more, channels_last={config.channels_last}, "
            f"{config.dtype}{lossless}, that fits as it is",
            received=f"{plan.in_words()}, {plan.dtype}, channels_last={plan.channels_last}, in {path}",
            remedy=f"Make one: striate plan {config.model} --memory ... -b {max(sizes)}{_flags(config)} --json > "
            "plan.json",
        )
    device = find_device(_card(config))
    peaks, evaluation = [], 0
    for size in set(sizes):
        parts = plan.parts(size)
        make = _step_maker(config, prepared, size, devices)
        if size // parts == 1 < size:  # As its smallest part may be.
            device.traced(_step_maker(config, prepared, 1, devices)(1, plan.amp_dtype))
        early = plan.optimizer_in_backward
        planned = replace(make(parts, plan.amp_dtype), recompute=plan.chosen, optimizer_in_backward=early)
        graph = device.traced(planned)
        held = _held(config, prepared.network, size)
        peaks.append(find_peak(timeline(graph, device)).size + held)
        shown = min(size, plan.evaluation_batch)
        evaluation = max(evaluation, held + evaluation_peak(planned, graph, device, size=shown))
    if max(*peaks, evaluation) > plan.budget_bytes:
        raise UsageError(
            expected=f"a plan that keeps this run within {format_bytes(plan.budget_bytes)}",
            received=f"one with which it takes {format_bytes(max(*peaks, evaluation))}, in {path}",
            remedy=f"Give --memory {plan.budget_bytes} (bytes) instead, and a plan is made for this very run.",
        )
    return replace(plan, peak_bytes=max(peaks), evaluation_bytes=evaluation)


def _flags(config: TrainConfig) -> str:
    half = " --dtype bfloat16" * (config.dtype != "float32") + " --master-weights" * config.master_weights
    return half + " --no-channels-last" * (not config.channels_last) + " --lossless" * config.lossless


def _step_maker(
    config: TrainConfig, prepared: Prepared, batch_size: int, devices: int
) -> Callable[[int, str | None], Training]:
    """Return what makes a run's step, for a number of micro-batches and autocast's type."""
    network, task = prepared.network, prepared.task
    assert config.image_size is not None
    assert config.in_chans is not None
    shape = (config.in_chans, *config.image_size)
    # Laid out as the loop does it: a map of one channel or one place has no layout of its own, and stays as it is.
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    dtype: torch.dtype = getattr(torch, config.dtype)
    network.to(dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
    images = torch.empty(batch_size, *shape, dtype=dtype, device="meta").to(memory_format=layout)
    step = task.step(network, images)

    def make(parts: int, amp_dtype: str | None) -> Training:
        wanted = config.amp_dtype if config.amp else amp_dtype
        amp = None if wanted is None else getattr(torch, wanted)
        optimizer = partial(optimizer_of, config, prepared.head)
        return Training(
            *(network, step.inputs, step.targets, step.loss, optimizer, step.forward, amp, parts),
            shown=step.shown,
            clip_grad=config.clip_grad,
            keeps_gradients=devices > 1,
        )

    return make


def _updates_early(config: TrainConfig, devices: int) -> bool:
    """Tell whether each gradient can be used by itself: to scale or to add them up, all of them have to be there."""
    return devices == 1 and config.clip_grad is None and not (config.amp and config.amp_dtype == "float16")


def _held(config: TrainConfig, network: nn.Module, batch_size: int) -> int:
    """Return the bytes that are there throughout, besides what a step holds."""
    held = 0
    if config.average != "none":
        held += sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    if config.mixup:
        assert config.image_size is not None
        assert config.in_chans is not None
        held += MIXED * batch_size * config.in_chans * prod(config.image_size) * torch.float32.itemsize
    return held


def _card(config: TrainConfig) -> str | None:
    return str(torch.cuda.get_device_properties(0).total_memory) if config.device == "cuda" else None


def _batches(config: TrainConfig, prepared: Prepared, devices: int) -> tuple[int, int]:
    """Return the sizes of the smallest and of the largest part of a batch: epochs and batches are cut evenly."""
    count = len(prepared.splits.train)
    steps = -(-count // config.batch_size)
    return count // steps // devices, ceil(ceil(count / steps) / devices)
