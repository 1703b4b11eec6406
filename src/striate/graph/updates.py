"""The optimizer in the backward pass: gradients freed early.

A plain step holds all gradients at its end. Where each parameter is updated as soon as its gradient is whole, no more
than a few are alive at once, and the weights that come out are the same, bit for bit. Lv et al., "Full parameter
fine-tuning for large language models with limited resources" (2023), section 3.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


def update_early(
    optimizer: Optimizer, during: Callable[[], AbstractContextManager[None]] = nullcontext
) -> list[RemovableHandle]:
    """Have each parameter take its step as soon as a backward pass has its whole gradient, which is then freed.

    What is done with all gradients at once, such as clipping by their norm, cannot be done then; ``optimizer.step()``
    at the end finds no gradients, and does nothing.

    Args:
        optimizer: whose parameters these are.
        during: entered for each update.

    Returns:
        Handles that end it.
    """

    def step_of(index: int) -> Callable[[Tensor], None]:
        def step(parameter: Tensor) -> None:
            groups = optimizer.param_groups  # Read again each time: a loaded state brings new ones.
            optimizer.param_groups = [groups[index] | {"params": [parameter]}]
            try:
                with during():
                    optimizer.step()
            finally:
                optimizer.param_groups = groups
            parameter.grad = None

        return step

    return [
        parameter.register_post_accumulate_grad_hook(step_of(index))
        for index, group in enumerate(optimizer.param_groups)
        for parameter in group["params"]
        if parameter.requires_grad
    ]
