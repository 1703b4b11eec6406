"""Running a plan: on any network, in any training loop."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from striate.errors import UsageError
from striate.graph.recompute import recomputing
from striate.graph.updates import update_early
from striate.planning.plan import Plan

FORWARDS = ("forward", "forward_all", "losses")  # What is called of a network in training: the last that it has.
_EARLY: WeakKeyDictionary[nn.Module, list[RemovableHandle]] = WeakKeyDictionary()
Network = TypeVar("Network", bound=nn.Module)


class _Planned:
    """Marks the class of a network whose forward pass in training follows a plan."""

    _plan: Plan
    _kind: type[nn.Module]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle it by its own class, which can be imported, as the made one cannot."""
        made: Any = super().__reduce_ex__(protocol)
        return _blank, (self._kind,), *made[2:]


def _blank(kind: Any) -> Any:
    return _planned_class(kind).__new__(_planned_class(kind))


def apply_plan(plan: Plan, network: Network, optimizer: Optimizer | None = None) -> Network:
    """Have a network's forward pass in training keep no more than its plan says.

    Micro-batches and autocast are the training loop's: see `micro_batches`, and ``plan.amp_dtype``.

    Args:
        plan: made for this network.
        network: changed in place: its memory layout, and its class, to one of the same name. Copies of it recompute as
            the plan says, too, but have no optimizer.
        optimizer: made for this network's parameters. It takes its step for each of them during the backward pass where
            the plan says so; ``optimizer.step()`` after that does nothing more.

    Returns:
        The network.

    Raises:
        UsageError: where the plan needs the optimizer, and there is none.
    """
    if plan.optimizer_in_backward and optimizer is None:
        raise UsageError(
            expected="the optimizer too, since this plan frees gradients early",
            received="a plan and a network",
            remedy="Call striate.apply_plan(plan, network, optimizer).",
        )
    layout = torch.channels_last if plan.channels_last else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    planned: Any = network
    if not isinstance(network, _Planned):
        kind: Any = type(planned)
        planned.__class__ = _planned_class(kind)
    planned._plan = plan
    for handle in _EARLY.pop(network, ()):  # Of an earlier plan.
        handle.remove()
    if plan.optimizer_in_backward and optimizer is not None:
        _EARLY[network] = update_early(optimizer)
    return network


@cache
def _planned_class(kind: Any) -> type[nn.Module]:
    methods: dict[str, Any] = {name: _planned(getattr(kind, name)) for name in FORWARDS if hasattr(kind, name)}
    return type(kind.__name__, (_Planned, kind), methods | {"_kind": kind})


def _planned(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def run(network: Any, *arguments: Any, **keywords: Any) -> Any:
        # Evaluation runs other operators, and keeps nothing.
        with recomputing(network._plan.chosen if network.training else {}):
            return forward(network, *arguments, **keywords)

    return run


def micro_batches(plan: Plan, batch: Sequence[Tensor]) -> Iterator[tuple[float, tuple[Tensor, ...]]]:
    """Yield the parts of a batch that pass through at once, each with its share of the batch.

    A part's loss, a mean over its images, times its share adds up to the batch's mean, and so do the gradients.

    Args:
        plan: that says how many images pass through at once.
        batch: tensors whose first side is the batch, such as images and targets.

    Raises:
        UsageError: for tensors of different lengths, and for more images than one part takes where the optimizer steps
            after each part.
    """
    given: Any = batch  # A tensor would be taken for a sequence of its images.
    lengths = {len(tensor) for tensor in batch}
    if isinstance(given, Tensor) or len(lengths) != 1:
        raise UsageError(
            expected="a batch of tensors whose first sides are alike",
            received=f"a tensor of {tuple(given.shape)} alone"
            if isinstance(given, Tensor)
            else " and ".join(str(tuple(tensor.shape)) for tensor in batch) or "none",
            remedy="Give images and targets of the same batch, in a tuple.",
        )
    (count,) = lengths
    if plan.optimizer_in_backward and plan.parts(count) > 1:
        raise UsageError(
            expected=f"a batch of {plan.batch_size} or fewer, since this plan updates weights in each backward pass",
            received=str(count),
            remedy="Make a plan for such batches, or give smaller ones.",
        )
    for part in zip(*(tensor.tensor_split(plan.parts(count)) for tensor in batch), strict=True):
        yield len(part[0]) / count, part
