"""A plan for a training run: its network, its loss and its optimizer, within the memory that it was granted."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from striate.errors import StriateError, UsageError
from striate.graph.programs import Training
from striate.jobs.memory import find_budget
from striate.jobs.plan import make_plan, make_search
from striate.planning.plan import Plan, read_plan
from striate.training.config import TrainConfig
from striate.training.optimizers import build_optimizer
from striate.training.tasks import AUXILIARY_WEIGHT, Classification
from striate.units import format_bytes

MIXED = 2  # Copies of the images that mixup makes: the partners, and the mixture.


def plan_training(config: TrainConfig, network: nn.Module, task: Classification, count: int) -> Plan:
    """Return how to take the steps of a run within ``config.memory``.

    Args:
        config: of the run, with its images' size and channels.
        network: to be trained; it gets its memory layout.
        task: prepared.
        count: of the images to learn from.

    Raises:
        StriateError: where nothing fits, with the smallest budget that would.
    """
    assert config.image_size is not None
    assert config.in_chans is not None
    smallest, batch_size = _batches(config, count)
    shape = (config.in_chans, *config.image_size)
    # Laid out as the loop does it: a map of one channel or one place has no layout of its own, and stays as it is.
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.empty(batch_size, *shape, device="meta").to(memory_format=layout)
    given = [images, torch.empty(batch_size, dtype=torch.int64, device="meta")]

    def make(parts: int, amp_dtype: str | None) -> Training:
        forward = getattr(type(network), "forward_all", None)
        wanted = config.amp_dtype if config.amp else amp_dtype
        amp = None if wanted is None else getattr(torch, wanted)
        loss = partial(_loss, task, config.smoothing)
        optimizer = partial(_optimizer, config)
        return Training(network, given[:1], given[1:], loss, optimizer, forward, amp, parts=parts)

    gpu = str(torch.cuda.get_device_properties(0).total_memory) if config.device == "cuda" else None
    budget = find_budget(config.memory, gpu)
    search = make_search(make, batch_size, gpu, None, counts=(smallest,), limit=budget)
    held = 0
    if config.average != "none":
        held += sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    if config.mixup:
        held += MIXED * given[0].nbytes
    found = make_plan(
        search,
        budget,
        channels_last=config.channels_last,
        lossless=config.lossless,
        may_cast=not config.amp,
        margin=config.margin,
        frontier=True,
        held=held,
    )
    if not found.fits:
        raise StriateError(
            expected=f"a way to train {config.model} on {batch_size} images a step within {format_bytes(budget)}",
            received=f"{format_bytes(found.peak_bytes)} at the least",
            remedy=f"Grant --memory {found.smallest_budget_bytes} (bytes), or take smaller images, a smaller "
            f"network or a smaller --batch-size{'; leave --lossless out' if config.lossless else ''}.",
        )
    return found


def fitting_plan(config: TrainConfig, path: str, count: int) -> Plan:
    """Return the plan in a file, for a run that is like the step that it was made for.

    What else has to be alike, such as the network and its images' size, the first step finds out.

    Args:
        config: of the run.
        path: of the file.
        count: of the images to learn from.

    Raises:
        UsageError: where there is no plan, it does not fit its own budget, or is for larger batches or another layout.
    """
    plan = read_plan(path)
    _, largest = _batches(config, count)
    wanted = f"a plan for batches of {largest} or more and channels_last={config.channels_last}, that fits"
    if not plan.fits or plan.channels_last != config.channels_last or plan.batch_size < largest:
        raise UsageError(
            expected=wanted,
            received=f"batches of {plan.batch_size}, channels_last={plan.channels_last}, fits={plan.fits} in {path}",
            remedy=f"Make one: striate plan {config.model} --memory ... -b {largest} --json > plan.json",
        )
    return plan


def _batches(config: TrainConfig, count: int) -> tuple[int, int]:
    """Return the sizes of the smallest and of the largest batch: an epoch is cut into even parts."""
    steps = -(-count // config.batch_size)
    return count // steps, -(-count // steps)


def _loss(task: Classification, smoothing: float, outputs: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Compare as the task does, after the network has run."""
    targets = F.one_hot(labels, len(task.classes))
    if isinstance(outputs, Tensor):
        return task.compare(outputs, targets, smoothing)
    loss, *auxiliary = (task.compare(logits, targets, smoothing) for logits in outputs)
    return loss + AUXILIARY_WEIGHT * sum(auxiliary)


def _optimizer(config: TrainConfig, network: nn.Module) -> Optimizer:
    return build_optimizer(network, config.opt, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
