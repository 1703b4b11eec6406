"""The optimizers by name, and the averages of the weights; all of them torch's own.

Where torch's form differs from the published rule:

- **momentum.** The textbook (Polyak, 1964; Sutskever et al., 2013) keeps a velocity v <- m v - r g and adds it to the
  weights; torch keeps v <- m v + g and subtracts r v. At a constant rate r the two take the same steps. When the rate
  changes, torch scales all of the gathered velocity by the new rate at once, the textbook only the newest gradient.
- **nesterov.** Likewise; torch steps by r (g + m v), the form with the gradient taken at the weights themselves.
- **rmsprop.** Hinton's lecture (2012) divides by the root of a moving mean square with a memory of 0.9; torch's default
  memory is 0.99, so 0.9 is passed here. torch adds epsilon to the root.
- **adagrad.** Duchi et al. (2011), epsilon 1e-10 added to the root.
- **adam, adamw, nadam.** Kingma and Ba (2015); Loshchilov and Hutter (2019), whose decay does not pass through the
  gradient; Dozat (2016), with his schedule of the momentum, 0.9 (1 - 0.96^(t/250) / 2).

``weight_decay`` is added to the gradient (an L2 penalty) except for adamw, which shrinks the weights directly.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from striate.training.config import USUAL_RATES, OptimizerName, TrainConfig
from striate.training.masters import keep_masters

RMSPROP_MEMORY = 0.9


def build_optimizer(
    network: nn.Module,
    name: OptimizerName,
    rate: float | None = None,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    master_weights: bool = False,
    foreach: bool = False,
) -> Optimizer:
    """Return an optimizer over all parameters that want a gradient; biases and norms are not decayed.

    Args:
        network: whose parameters it changes.
        name: of the rule.
        rate: of learning; the rule's usual one by default.
        momentum: of ``momentum`` and ``nesterov``.
        weight_decay: of matrices and kernels.
        master_weights: whether it keeps 32-bit copies of 16-bit weights.
        foreach: whether it treats all parameters at once, as torch does by itself on a card and not on a CPU.
    """
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in wanted if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = _rule(groups, name, USUAL_RATES[name] if rate is None else rate, momentum)
    for group in optimizer.param_groups:
        group["foreach"] = foreach
    if master_weights:
        keep_masters(optimizer)
    return optimizer


def _rule(groups: list[dict[str, Any]], name: OptimizerName, rate: float, momentum: float) -> Optimizer:
    match name:
        case "sgd":
            return optim.SGD(groups, rate)
        case "momentum":
            return optim.SGD(groups, rate, momentum=momentum)
        case "nesterov":
            return optim.SGD(groups, rate, momentum=momentum, nesterov=True)
        case "adagrad":
            return optim.Adagrad(groups, rate)
        case "rmsprop":
            return optim.RMSprop(groups, rate, alpha=RMSPROP_MEMORY)
        case "adam":
            return optim.Adam(groups, rate)
        case "adamw":
            return optim.AdamW(groups, rate)
        case "nadam":
            return optim.NAdam(groups, rate)


def optimizer_of(config: TrainConfig, network: nn.Module) -> Optimizer:
    """Return the optimizer of a run."""
    return build_optimizer(
        network,
        config.opt,
        config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        master_weights=config.master_weights,
        foreach=config.device == "cuda",
    )


def build_average(network: nn.Module, config: TrainConfig) -> AveragedModel | None:
    """Return the average of the weights asked for, which holds its own copy of the network."""
    if config.average == "ema":
        return AveragedModel(network, multi_avg_fn=partial(_move_average, config.average_decay))
    if config.average == "swa":
        return AveragedModel(network)
    return None


@torch.no_grad()
def _move_average(decay: float, averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
    """Move an average by one step, faster at first: of a short run, the start must not outweigh all the rest.

    The decay of step n is min(decay, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage.
    """
    warm = (1 + int(count)) / (10 + int(count))
    torch._foreach_lerp_(averaged, current, 1 - min(decay, warm))
