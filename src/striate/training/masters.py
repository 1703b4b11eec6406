"""32-bit copies of 16-bit weights, for the optimizer.

bfloat16 keeps 8 bits of a number: an update below about 1/256 of a weight is rounded away. So the optimizer works on
32-bit master weights, which the network gets in 16 bits after each step: Micikevicius et al., "Mixed precision
training", 2018, section 3.1.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

MASTER = "master"


def keep_masters(optimizer: Optimizer) -> None:
    """Have an optimizer keep master weights of its parameters, in its state; gradients are used up by a step.

    Args:
        optimizer: any of torch's; its state gets 32 bits, too.
    """
    low: dict[Tensor, Tensor] = {}

    def widen(parameter: Tensor) -> None:
        low[parameter] = parameter.data
        state: dict[str, Any] = optimizer.state[parameter]
        parameter.data = state.pop(MASTER) if MASTER in state else parameter.data.float()

    def parameters() -> Iterator[Tensor]:
        yield from (parameter for group in optimizer.param_groups for parameter in group["params"])

    def before_step(*_arguments: Any) -> None:
        for parameter in parameters():
            if parameter.grad is not None:
                widen(parameter)
                parameter.grad = parameter.grad.float()

    @torch.no_grad()
    def after_step(*_arguments: Any) -> None:
        for parameter, weights in low.items():
            optimizer.state[parameter][MASTER] = parameter.data
            parameter.grad = None
            parameter.data = weights.copy_(parameter.data)
        low.clear()

    def before_loading(*_arguments: Any) -> None:
        # What is loaded gets the type of its parameter.
        for parameter in parameters():
            widen(parameter)

    def after_loading(*_arguments: Any) -> None:
        for parameter, weights in low.items():
            parameter.data = weights
        low.clear()

    optimizer.register_step_pre_hook(before_step)
    optimizer.register_step_post_hook(after_step)
    optimizer.register_load_state_dict_pre_hook(before_loading)
    optimizer.register_load_state_dict_post_hook(after_loading)
