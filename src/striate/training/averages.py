"""Averages of a network's weights over the steps of its training, by torch's own AveragedModel."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn


class Average:
    """The average of a run's weights: none, one that moves, or the mean of all since a start.

    Args:
        network: that is trained; an average holds its own copy.
        kind: none, ``ema`` for one that moves, ``swa`` for a mean.
        decay: of one that moves, a step.
        start: share of the run after which a mean begins.
    """

    def __init__(
        self, network: nn.Module, kind: Literal["none", "ema", "swa"], *, decay: float = 0.0, start: float = 0.0
    ) -> None:
        self._network, self._kind, self._start = network, kind, start
        self._average: AveragedModel | None = None
        if kind == "ema":
            move = partial(_move_average, decay)
            self._average = AveragedModel(network, multi_avg_fn=move, use_buffers=True)
        elif kind == "swa":
            self._average = AveragedModel(network)

    @property
    def is_awaited(self) -> bool:
        """Whether there is to be an average, and none has begun."""
        return self._average is not None and not self.has_begun

    @property
    def has_begun(self) -> bool:
        """Whether any weights were averaged."""
        return self._average is not None and int(self._average.n_averaged) > 0

    def tensors(self) -> Iterator[Tensor]:
        """Yield what it holds."""
        if self._average is not None:
            yield from (*self._average.parameters(), *self._average.buffers())

    def update(self, done: float) -> None:
        """Take the network's weights in, after so much of the run."""
        if self._average is not None and (self._kind == "ema" or done >= self._start):
            self._average.update_parameters(self._network)

    def network(self, images: Callable[[], Iterable[Any]]) -> nn.Module:
        """Return the network whose worth counts: the average as soon as it has begun.

        A moving average has moved batch norm's statistics along; those of a mean of weights are gathered anew.

        Args:
            images: returns all training images in batches.
        """
        if self._average is None or not self.has_begun:
            return self._network
        averaged: nn.Module = self._average.module
        if self._kind == "swa":
            update_bn(images(), averaged)
        return averaged

    def state(self) -> Mapping[str, Tensor] | None:
        """Return what `load_state` takes; None without an average."""
        return None if self._average is None else self._average.state_dict()

    def load_state(self, state: Mapping[str, Tensor] | None) -> None:
        """Go on from such a state."""
        if self._average is not None and state is not None:
            self._average.load_state_dict(dict(state))


@torch.no_grad()
def _move_average(decay: float, averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
    """Move an average by one step, faster at first: of a short run, the start must not outweigh all the rest.

    Batch norm's statistics move along, so that none have to be gathered for the average. What counts batches is an
    integer, and stays. The decay of step n is min(decay, (1 + n) / (10 + n)), as in TensorFlow's
    ExponentialMovingAverage.
    """
    warm = (1 + int(count)) / (10 + int(count))
    if averaged[0].is_floating_point():
        torch._foreach_lerp_(averaged, current, 1 - min(decay, warm))
