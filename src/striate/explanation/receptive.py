"""What a unit really sees of an image: the gradient of its value by the image's pixels.

The theoretical field is all that could matter; pixels in its middle reach the unit on many more ways than those at its
edge, so that what matters, the effective field, is a blot that is much smaller (Luo, Li, Urtasun and Zemel,
"Understanding the effective receptive field in deep convolutional neural networks", 2016).
"""

from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.explanation.points import Images, Point, run_to

SHARE = 0.95  # Of the gradient's energy, that the effective field holds.
DRAWS = 8  # Of signs, so that what channels say against each other does not cancel out.


def effective_field(
    network: nn.Module, image: Images, point: Point, unit: tuple[int, int], seed: int = 0
) -> Float[Tensor, "H W"]:
    """Return how much each pixel matters to one unit of a point: the squared gradient, adding up to 1.

    It is the mean over several draws of the squared gradient of the unit's channels, each added with a sign of chance,
    and the sum over the image's channels.

    Args:
        network: in evaluation mode.
        image: 1 x C x H x W.
        point: whose unit it is.
        unit: its row and column.
        seed: of the signs.
    """
    draws = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        given = image.detach().clone().requires_grad_()
        said = run_to(network, given.clone(), point)[0, :, unit[0], unit[1]]
        energy = torch.zeros_like(given[0, 0])
        for draw in range(DRAWS):
            signs = torch.randint(0, 2, said.shape, generator=draws).mul(2).sub(1).to(said)
            (gradient,) = torch.autograd.grad(said, given, signs, retain_graph=draw + 1 < DRAWS)
            energy += gradient[0].square().sum(0)
    total = energy.sum()
    return energy / total if total > 0 else energy


def effective_side(energy: Float[Tensor, "H W"], middle: tuple[float, float]) -> int:
    """Return the side of the smallest square around a place that holds 95 % of what matters; 0 where nothing does.

    Args:
        energy: of each pixel.
        middle: row and column, such as 1.5 for between the second pixel and the third.
    """
    rows, columns = (
        (torch.arange(size, device=energy.device) - place).abs() * 2 + 1
        for size, place in zip(energy.shape, middle, strict=True)
    )
    sides = torch.maximum(rows[:, None], columns[None, :]).flatten()
    order = sides.argsort()
    held = energy.flatten()[order].double().cumsum(0)
    enough = (held >= SHARE * held[-1]).nonzero()
    return ceil(float(sides[order][enough[0, 0]])) if held[-1] > 0 else 0
