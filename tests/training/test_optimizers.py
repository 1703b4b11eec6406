"""Each optimizer against the published update rule, written out by hand, over steps with a rate that changes."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from striate.training.config import OptimizerName
from striate.training.optimizers import build_optimizer

RATES = [0.1, 0.2, 0.05, 0.05, 0.3, 0.01]
DECAY = 0.02
Rule = Callable[[float, list[float], list[float]], float]


def gradient(w: float) -> float:
    """Of the loss 3 w^4 / 4 + w."""
    return 3 * w**3 + 1


def sgd(w: float, gradients: list[float], rates: list[float]) -> float:
    return w - rates[-1] * gradients[-1]


def momentum(w: float, gradients: list[float], rates: list[float]) -> float:
    velocity = 0.0
    for g in gradients:
        velocity = 0.9 * velocity + g
    return w - rates[-1] * velocity


def textbook_momentum(w: float, gradients: list[float], rates: list[float]) -> float:
    """Polyak 1964: v <- m v - r g; w <- w + v."""
    velocity = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        velocity = 0.9 * velocity - rate * g
    return w + velocity


def nesterov(w: float, gradients: list[float], rates: list[float]) -> float:
    velocity = 0.0
    for g in gradients:
        velocity = 0.9 * velocity + g
    return w - rates[-1] * (gradients[-1] + 0.9 * velocity)


def adagrad(w: float, gradients: list[float], rates: list[float]) -> float:
    """Duchi et al. 2011: divide by the root of all squares so far."""
    return w - rates[-1] * gradients[-1] / (math.sqrt(sum(g * g for g in gradients)) + 1e-10)


def rmsprop(w: float, gradients: list[float], rates: list[float]) -> float:
    """Hinton 2012: MeanSquare(t) = 0.9 MeanSquare(t-1) + 0.1 g^2."""
    mean_square = 0.0
    for g in gradients:
        mean_square = 0.9 * mean_square + 0.1 * g * g
    return w - rates[-1] * gradients[-1] / (math.sqrt(mean_square) + 1e-8)


def moments(gradients: list[float]) -> tuple[float, float]:
    m = v = 0.0
    for g in gradients:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return m, v


def adam(w: float, gradients: list[float], rates: list[float]) -> float:
    """Kingma and Ba 2015, algorithm 1."""
    m, v = moments(gradients)
    t = len(gradients)
    return w - rates[-1] * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)


def nadam(w: float, gradients: list[float], rates: list[float]) -> float:
    """Dozat 2016, algorithm 2, with mu_t = 0.9 (1 - 0.96^(t/250) / 2)."""
    m, v = moments(gradients)
    t = len(gradients)
    mu: list[float] = [0.9 * (1 - 0.5 * 0.96 ** (n / 250)) for n in range(1, t + 2)]
    ahead = mu[t] * m / (1 - math.prod(mu)) + (1 - mu[t - 1]) * gradients[-1] / (1 - math.prod(mu[:t]))
    return w - rates[-1] * ahead / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)


RULES: dict[str, Rule] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adam,
    "nadam": nadam,
}


def weights_over_steps(opt: OptimizerName, rates: list[float], decay: float) -> list[float]:
    """Run the optimizer as the loop does, on one weight (a matrix, so that it is decayed)."""
    network = nn.Linear(1, 1, bias=False).double()
    network.weight.data.fill_(0.5)
    optimizer = build_optimizer(network, opt, rates[0], weight_decay=decay)
    path = []
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate
        network.weight.grad = torch.full_like(network.weight, gradient(network.weight.item()))
        optimizer.step()
        path.append(network.weight.item())
    return path


def by_hand(rule: Rule, rates: list[float], decay: float, decoupled: bool) -> list[float]:
    w, gradients, path = 0.5, [], []
    for step, rate in enumerate(rates, 1):
        gradients.append(gradient(w) + (0 if decoupled else decay * w))
        shrunk = w * (1 - rate * decay) if decoupled else w
        w = rule(shrunk, gradients, rates[:step])
        path.append(w)
    return path


@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("opt", RULES)
def test_takes_the_published_steps(opt: OptimizerName, decay: float) -> None:
    expected = by_hand(RULES[opt], RATES, decay, decoupled=opt == "adamw")
    # torch keeps the product of NAdam's momenta in 32 bits.
    assert weights_over_steps(opt, RATES, decay) == pytest.approx(expected, rel=1e-6 if opt == "nadam" else 1e-9)


def test_momentum_is_the_textbooks_at_a_constant_rate_and_another_when_it_changes() -> None:
    constant = [0.05] * 6
    expected = by_hand(textbook_momentum, constant, 0.0, decoupled=False)
    assert weights_over_steps("momentum", constant, 0.0) == pytest.approx(expected, rel=1e-9)
    changing = by_hand(textbook_momentum, RATES, 0.0, decoupled=False)
    assert weights_over_steps("momentum", RATES, 0.0) != pytest.approx(changing, rel=1e-2)


def test_biases_and_norms_are_not_decayed() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    network[2].weight.requires_grad = False
    optimizer = build_optimizer(network, "sgd", weight_decay=0.1)
    decayed = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decayed.get(id(p)) for name, p in network.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": None,
        "2.bias": 0.0,
    }
