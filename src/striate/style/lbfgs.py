"""L-BFGS with its memory in tensors, and no decision that depends on a value: so that what it takes can be predicted.

Nocedal and Wright, "Numerical optimization", 2006, algorithms 7.4 and 7.5: the last moves s and the changes of the
gradient y that they brought stand for the curvature, H · g is computed from them by two loops of inner products.
Deviations:

- No line search, each trial of which would cost a pass of its own. A step is the direction itself; its root mean square
  is held to ``largest``, and that of the first step, which knows no curvature, to ``first``.
- A pair without positive curvature (y · s), which a line search would have ruled out, is passed over.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

PAIRS = 10
FIRST, LARGEST = 0.02, 0.25
CURVED = 1e-6  # Of |y| · |s|, above which a pair's curvature counts.
TINY = 1e-20


class LBFGS(Optimizer):
    """Limited-memory BFGS, parameter by parameter.

    Args:
        parameters: that it changes.
        pairs: moves that it remembers; each takes twice a parameter's bytes.
        first: root mean square of the first step.
        largest: root mean square of any.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        pairs: int = PAIRS,
        first: float = FIRST,
        largest: float = LARGEST,
    ) -> None:
        super().__init__(parameters, {"pairs": pairs, "first": first, "largest": largest})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move each parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad.flatten(), group)

    def _move(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            count, pairs = parameter.numel(), group["pairs"]
            state["step"] = 0
            state["moves"], state["changes"] = (gradient.new_zeros(pairs, count) for _ in range(2))
            state["inverse"] = gradient.new_zeros(pairs)  # 1 / (y · s); 0 for a pair that is passed over.
            state["scale"] = gradient.new_zeros(())  # (y · s) / (y · y) of the newest pair that counts.
            state["gradient"] = gradient.new_zeros(count)
        step = state["step"]
        if step:
            self._learn(state, gradient, (step - 1) % group["pairs"])
        state["gradient"].copy_(gradient)
        move = self._direction(state, gradient, step, group)
        state["moves"][step % group["pairs"]] = move
        parameter.add_(move.view_as(parameter))
        state["step"] = step + 1

    def _learn(self, state: dict[str, Any], gradient: Tensor, place: int) -> None:
        """Take in what the last move did to the gradient."""
        move, change = state["moves"][place], state["changes"][place]
        torch.sub(gradient, state["gradient"], out=change)
        curvature, length = torch.dot(change, move), torch.dot(change, change)
        is_curved = curvature > CURVED * (length * torch.dot(move, move)).sqrt()
        state["inverse"][place] = torch.where(is_curved, 1 / curvature, 0)
        state["scale"].copy_(torch.where(is_curved, curvature / length, state["scale"]))

    def _direction(self, state: dict[str, Any], gradient: Tensor, step: int, group: dict[str, Any]) -> Tensor:
        """Return -H · g, held to a length."""
        pairs, found = group["pairs"], gradient.neg()
        places = [index % pairs for index in range(max(step - pairs, 0), step)]  # From the oldest to the newest.
        shares = {}
        for place in reversed(places):
            shares[place] = state["inverse"][place] * torch.dot(state["moves"][place], found)
            found.addcmul_(state["changes"][place], shares[place], value=-1)
        # Without any curvature, the scale is 0 and the step goes along the gradient.
        is_first = state["scale"] == 0
        found.mul_(torch.where(is_first, 1, state["scale"]))
        for place in places:
            back = state["inverse"][place] * torch.dot(state["changes"][place], found)
            found.addcmul_(state["moves"][place], shares[place] - back)
        size = torch.linalg.vector_norm(found) / found.numel() ** 0.5
        factor = torch.where(is_first, group["first"] / (size + TINY), (group["largest"] / (size + TINY)).clamp_max(1))
        return found.mul_(factor)
