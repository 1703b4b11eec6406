"""The optimizer in the backward pass: the same weights, and no more than a few gradients at once."""

import copy
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from measured import measured
from planned import deep, same
from striate.graph.updates import update_early
from striate.jobs.cost import cost_of_model
from striate.jobs.networks import InputSpec
from striate.jobs.programs import ModelProgram, Settings
from striate.training.config import OptimizerName
from striate.training.optimizers import build_optimizer


class Tied(nn.Module):
    """Uses one convolution twice, and has a layer that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.unused = nn.Linear(3, 3)
        self.frozen = nn.Conv2d(4, 5, 1)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.frozen(self.twice(self.twice(self.first(x)).relu())).mean(dim=(2, 3))
        return logits


def learned(network: nn.Module, make: Callable[[nn.Module], Optimizer], *, early: bool) -> dict[str, Tensor]:
    """Take four steps, between which the rate changes and the optimizer's state is saved and loaded."""
    optimizer = make(network)
    if early:
        update_early(optimizer)
    generator = torch.Generator().manual_seed(1)
    for step in range(4):
        for group in optimizer.param_groups:
            group["lr"] *= 1 + step
        loss: Tensor = network(torch.randn(4, 3, 8, 8, generator=generator)).square().mean()
        torch.autograd.backward(loss)
        if early:
            assert all(parameter.grad is None for parameter in network.parameters())
        optimizer.step()
        optimizer.zero_grad()
        if step == 1:
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return network.state_dict()


@pytest.mark.parametrize("opt", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "nadam", "adamw"])
@pytest.mark.parametrize("make", [deep, Tied])
def test_the_weights_are_the_same_bit_for_bit(opt: OptimizerName, make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = make()

    def optimizer(of: nn.Module) -> Optimizer:
        return build_optimizer(of, opt, 0.01, weight_decay=0.01)

    begun = copy.deepcopy(network.state_dict())
    plain = learned(copy.deepcopy(network), optimizer, early=False)
    assert not same(begun, plain)
    assert same(plain, learned(network, optimizer, early=True))


def test_a_gradient_is_gone_before_the_next_but_one_is_there() -> None:
    chain = nn.Sequential(*(nn.Linear(3, 3) for _ in range(6)))
    gradients: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def note(parameter: Tensor) -> None:
        assert parameter.grad is not None
        gradients.append(weakref.ref(parameter.grad))
        alive.append(sum(gradient() is not None for gradient in gradients))

    for parameter in chain.parameters():
        parameter.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]
    handles = update_early(torch.optim.SGD(chain.parameters(), 0.1))
    torch.autograd.backward(chain(torch.ones(2, 3)).sum())
    assert len(alive) == 12
    assert max(alive) == 1
    for handle in handles:
        handle.remove()
    torch.autograd.backward(chain(torch.ones(2, 3)).sum())
    assert max(alive) == 12


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_the_predicted_peak_is_the_measured_one(optimizer: OptimizerName) -> None:
    settings = Settings(4, "training", optimizer)
    plain = ModelProgram("alexnet_28", (InputSpec((1, 28, 28)),), settings, 10)
    early = ModelProgram("alexnet_28", (InputSpec((1, 28, 28)),), settings, 10, optimizer_in_backward=True)
    predicted = cost_of_model(early).peak.size
    assert predicted < cost_of_model(plain).peak.size
    assert predicted == pytest.approx(measured(early), rel=0.001)
