"""The optimizers by name; all of them torch's own.

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

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn, optim
from torch.optim import Optimizer

from striate.training.config import USUAL_RATES, OptimizerName, TrainConfig
from striate.training.masters import keep_masters
from striate.training.transfer import rate_scales

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
    scales: Mapping[nn.Parameter, float] | None = None,
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
        scales: factors of the rate; each group of parameters keeps its own as ``scale``.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 else 0.0
            scale = 1.0 if scales is None else scales[parameter]
            groups.setdefault((scale, decay), []).append(parameter)
    usual = USUAL_RATES[name] if rate is None else rate
    described = [
        {"params": parameters, "weight_decay": decay, "scale": scale, "lr": usual * scale}
        for (scale, decay), parameters in groups.items()
    ]
    optimizer = _rule(described, name, usual, momentum)
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


def optimizer_of(config: TrainConfig, head: Sequence[str], network: nn.Module) -> Optimizer:
    """Return the optimizer of a run; ``head`` names the layers behind what has learned already."""
    return build_optimizer(
        network,
        config.opt,
        config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        master_weights=config.master_weights,
        foreach=config.device == "cuda",
        scales=None if config.layer_decay == 1 else rate_scales(network, head, config.layer_decay),
    )
