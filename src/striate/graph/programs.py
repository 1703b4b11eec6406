"""What is traced, and what is measured: the same few lines.

A program is what runs again and again: a network at prediction, or one step of training. It holds no more than a plain
loop does: the network's output dies with the loss that is made of it, gradients die with the step.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from striate.graph.operators import Phase
from striate.graph.recompute import recomputing
from striate.graph.updates import update_early

During = Callable[[Phase], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Inference:
    """A network at prediction, without gradients.

    Args:
        network: any module.
        inputs: its arguments.
        amp_dtype: of the operators that autocast deems safe in 16 bits; None without autocast.
    """

    network: nn.Module
    inputs: Sequence[Tensor]
    amp_dtype: torch.dtype | None = None

    @property
    def given(self) -> Sequence[Tensor]:
        """What is there before it runs, besides the network."""
        return self.inputs

    def with_given(self, given: Sequence[Tensor]) -> "Inference":
        """Return the program on other inputs."""
        return replace(self, inputs=given)

    def shortened(self) -> "Inference":
        """Return a program with the same peak that does not repeat itself."""
        return self

    def begin(self) -> None:
        """Set the network's mode."""
        self.network.eval()

    def state(self) -> Iterator[Tensor]:
        """Yield nothing: it has no state."""
        yield from ()

    def run(self, during: During) -> None:
        """Predict once; ``during`` is entered for each phase."""
        with torch.no_grad(), _autocast(self.amp_dtype, self.inputs), during(Phase.FORWARD):
            self.network(*self.inputs)


@dataclass(slots=True)
class Training:
    """One step of training in its steady state, in which the optimizer's state is there already.

    Args:
        network: any module.
        inputs: its arguments; the first side of each is the batch.
        targets: what the loss takes besides the network's output.
        loss: of output and targets, a scalar: the mean over the batch.
        optimizer: made for the network; None for a step that ends with the gradients.
        forward: what is called of the network; the network itself by default.
        amp_dtype: of the operators that autocast deems safe in 16 bits; None without autocast.
        parts: micro-batches that pass through one after the other; their gradients add up.
        repeats: how many of them are run; all by default. The second begins with gradients there, and so do all later
            ones: two tell what any number takes.
        recompute: operators of the forward pass that run again for the gradients, by their places.
        optimizer_in_backward: whether each parameter is updated as soon as its gradient is there; in one part.
        clip_grad: the norm that all gradients together are scaled down to; None for as they are.
        shown: how many of the inputs prediction takes, too; all by default.
        keeps_gradients: whether gradients stay from step to step, as they do where several devices share a batch: there
            they are views of the buckets that are added up, and ``optimizer.zero_grad(set_to_none=False)`` keeps them.
    """

    network: nn.Module
    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    loss: Callable[..., Tensor]
    optimizer: Callable[[nn.Module], Optimizer] | None = None
    forward: Callable[..., Any] | None = None
    amp_dtype: torch.dtype | None = None
    parts: int = 1
    repeats: int | None = None
    recompute: Mapping[int, str] = field(default_factory=dict)
    optimizer_in_backward: bool = False
    clip_grad: float | None = None
    shown: int | None = None
    keeps_gradients: bool = False
    _learner: Optimizer | None = None
    _kept: Sequence[tuple[nn.Parameter, Tensor]] = ()

    @property
    def given(self) -> Sequence[Tensor]:
        """What is there before it runs, besides the network."""
        return (*self.inputs, *self.targets)

    def with_given(self, given: Sequence[Tensor]) -> "Training":
        """Return the program on other inputs and targets."""
        count = len(self.inputs)
        return replace(self, inputs=given[:count], targets=given[count:])

    def shortened(self) -> "Training":
        """Return a program with the same peak that does not repeat itself."""
        return replace(self, repeats=2)

    def begin(self) -> None:
        """Set the network's mode and make the optimizer, whose state the first step makes."""
        self.network.train()
        self._learner = None if self.optimizer is None else self.optimizer(self.network)
        if self.keeps_gradients:
            wanted = (parameter for parameter in self.network.parameters() if parameter.requires_grad)
            self._kept = [(parameter, torch.zeros_like(parameter, requires_grad=False)) for parameter in wanted]
            self._forget_gradients()

    def take_step(self, names: Collection[str]) -> None:
        """Have the optimizer take a step with gradients of zero for some parameters, and so make its state for them."""
        if self._learner is None:
            return
        for name, parameter in self.network.named_parameters():
            if name in names:
                parameter.grad = torch.zeros_like(parameter)
        self._learner.step()
        self._forget_gradients()

    def state(self) -> Iterator[Tensor]:
        """Yield the optimizer's tensors, and gradients that stay."""
        yield from (gradient for _, gradient in self._kept)
        for state in () if self._learner is None else self._learner.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    def run(self, during: During) -> None:
        """Take one step; ``during`` is entered for each phase."""
        early = self._learner if self.optimizer_in_backward else None
        handles = [] if early is None else update_early(early, partial(during, Phase.OPTIMIZER))
        try:
            for part in range(self.parts)[: self.repeats]:
                with torch.enable_grad():
                    self._learn(part, during)
        finally:
            for handle in handles:
                handle.remove()
        with during(Phase.OPTIMIZER):
            if self.clip_grad is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_grad)
            if self._learner is not None:
                self._learner.step()
        self._forget_gradients()

    def _learn(self, part: int, during: During) -> None:
        forward = self.network if self.forward is None else partial(self.forward, self.network)
        with _autocast(self.amp_dtype, self.inputs):
            with during(Phase.FORWARD):
                given = [self._part_of(tensor, part) for tensor in self.inputs]
                with recomputing(self.recompute):
                    output: Any = forward(*given)
                del given
            with during(Phase.LOSS):
                loss = self.loss(output, *(self._part_of(tensor, part) for tensor in self.targets))
                if self.parts > 1:
                    loss = loss * (len(self._part_of(self.inputs[0], part)) / len(self.inputs[0]))
                del output
        with during(Phase.BACKWARD):
            torch.autograd.backward(loss)

    def _part_of(self, tensor: Tensor, part: int) -> Tensor:
        if self.parts == 1:
            return tensor
        size, larger = divmod(len(tensor), self.parts)  # As `Tensor.tensor_split` cuts.
        return tensor.narrow(0, part * size + min(part, larger), size + (part < larger))

    def _forget_gradients(self) -> None:
        for parameter in self.network.parameters():
            parameter.grad = None
        for parameter, gradient in self._kept:
            parameter.grad = gradient.zero_()


Program = Inference | Training


def _autocast(dtype: torch.dtype | None, inputs: Sequence[Tensor]) -> AbstractContextManager[Any]:
    """Return the context in which operators that are safe in 16 bits run so; for None, one in which none does."""
    device = inputs[0].device.type if inputs else "cpu"
    return torch.autocast(device, enabled=False) if dtype is None else torch.autocast(device, dtype)
