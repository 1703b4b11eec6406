"""Which of a layer's many maps to look at."""

import torch
from jaxtyping import Float
from torch import Tensor


def strongest(maps: Float[Tensor, "C h w"], count: int) -> list[int]:
    """Return the channels whose largest value is largest, in that order."""
    order: list[int] = maps.amax((1, 2)).argsort(descending=True).tolist()
    return order[:count]


def most_different(maps: Float[Tensor, "C h w"], count: int) -> list[int]:
    """Return channels that are unlike each other: the strongest, then whichever is least like all chosen so far.

    How alike two are is the correlation of their values over the places, without its sign; those that are the same
    everywhere are left out.

    Args:
        maps: of one image.
        count: of channels at most.
    """
    values = maps.flatten(1).double()
    values = values - values.mean(1, keepdim=True)
    lengths = values.norm(dim=1)
    varied = (lengths > 1e-9 * lengths.max()).nonzero().flatten()
    if not len(varied) or float(lengths.max()) == 0:
        return []
    units = values[varied] / lengths[varied, None]
    chosen = [int(maps[varied].amax((1, 2)).argmax())]
    alike = torch.zeros(len(varied), dtype=torch.float64)
    while len(chosen) < min(count, len(varied)):
        alike = torch.maximum(alike, (units @ units[chosen[-1]]).abs())
        alike[chosen[-1]] = torch.inf
        chosen.append(int(alike.argmin()))
    channels: list[int] = varied[chosen].tolist()
    return channels
