"""Small networks, their traced training steps, and plans made by hand."""

import dataclasses
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.costing.devices.cpu import cpu
from striate.graph.programs import Training
from striate.planning.plan import Plan, Recomputed
from striate.planning.search import Search
from striate.planning.times import Rates, Times

RATES = Rates(macs=1e10, bytes=1e9)


def deep(blocks: int = 4, width: int = 8, *, normed: bool = True) -> nn.Sequential:
    """Convolutions, each with a norm, a ReLU in place and now and then a pooling, and a dense layer at the end."""
    layers, before = nn.Sequential(), 3
    for block in range(blocks):
        layers.append(nn.Conv2d(before, width, 3, padding=1))
        if normed:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
        if block % 2:
            layers.append(nn.MaxPool2d(2))
        before = width
    return layers.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5)])


def training(network: nn.Module, batch: int = 8, side: int = 16, *, parts: int = 1, amp: str | None = None) -> Training:
    images, targets = torch.empty(batch, 3, side, side), torch.zeros(batch, dtype=torch.int64)
    amp_dtype = None if amp is None else getattr(torch, amp)
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9, foreach=False)
    return Training(
        network, [images], [targets], F.cross_entropy, lambda net: optimizer(net.parameters()), None, amp_dtype, parts
    )


def search_of(network: nn.Module, batch: int = 8, side: int = 16) -> Search:
    return Search(
        lambda parts, amp: training(network, batch, side, parts=parts, amp=amp),
        batch,
        cpu(),
        lambda _amp: Times(RATES, {}),
        channels_last=False,
    )


def plan_with(**fields: Any) -> Plan:
    """Return a plan with some of its fields as told."""
    plain: dict[str, Any] = {
        field.name: 1 for field in dataclasses.fields(Plan) if field.default is dataclasses.MISSING
    }
    plain |= {"fits": True, "is_measured": False, "relative_time": 1.0, "dtype": "float32", "amp_dtype": None}
    plain |= {"channels_last": False, "recompute": ()}
    return Plan(**(plain | fields))


def recomputed(chosen: dict[int, str]) -> tuple[Recomputed, ...]:
    return tuple(Recomputed(place, operator, "") for place, operator in chosen.items())


def gradients_of(network: nn.Module) -> dict[str, Tensor]:
    """Return what will hold a copy of each parameter's last gradient, made as soon as it is whole."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, parameter: Tensor) -> None:
        assert parameter.grad is not None
        kept[name] = parameter.grad.clone()

    for name, parameter in network.named_parameters():
        parameter.register_post_accumulate_grad_hook(partial(keep, name))  # type: ignore[no-untyped-call]
    return kept


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
