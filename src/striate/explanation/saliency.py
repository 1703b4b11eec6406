"""Which parts of an image speak for a class, by two ways that know nothing of each other.

Grad-CAM asks the network's inside: the last maps, each weighted by how much the class's logit grows with it (Selvaraju
et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", 2017, equations 1 and 2).
Occlusion asks from outside: how much less probable the class is with a part of the image covered (Zeiler and Fergus,
"Visualizing and understanding convolutional networks", 2014, section 4.2).
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from striate.explanation.points import Images, Point, watching

AT_ONCE = 16  # Covered images.


def grad_cam(network: nn.Module, image: Images, point: Point, label: int) -> Float[Tensor, "h w"]:
    """Return how much each place of a point's maps speaks for a class: the positive part of the weighted sum of maps.

    Args:
        network: in evaluation mode, of one logit for each class.
        image: 1 x C x H x W.
        point: whose maps are weighted.
        label: the class's place among the logits.
    """
    maps: list[Tensor] = []

    def see(_point: Point, output: Tensor) -> Tensor:
        maps.append(output.detach().clone().requires_grad_())
        return maps[0].clone()  # What follows may change it in place.

    with torch.enable_grad(), watching(network, [point], see):
        logit = network(image)[0, label]
        (gradient,) = torch.autograd.grad(logit, maps[0])
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * maps[0].detach()).sum(1)[0].relu()


def occlusion_places(size: tuple[int, int], side: int, step: int) -> tuple[list[int], list[int]]:
    """Return the first rows and columns of squares that cover an image, the last of them at its edge.

    Args:
        size: (height, width).
        side: of a square.
        step: from one to the next.
    """
    down, across = ([*range(0, max(length - side, 0), step), max(length - side, 0)] for length in size)
    return down, across


def occlude(network: nn.Module, image: Images, label: int, side: int, step: int) -> Iterator[Float[Tensor, " n"]]:
    """Yield by how much a class is less probable with a square of the image covered, some squares at a time.

    Row by row, as `occlusion_places` has them; a square has the mean colour, which is 0 in an image as networks take
    it.

    Args:
        network: in evaluation mode, of one logit for each class.
        image: 1 x C x H x W.
        label: the class's place among the logits.
        side: of a square.
        step: from one to the next.
    """
    rows, columns = occlusion_places((image.shape[2], image.shape[3]), side, step)
    whole = _share(network, image, label)
    corners = [(row, column) for row in rows for column in columns]
    for first in range(0, len(corners), AT_ONCE):
        chosen = corners[first : first + AT_ONCE]
        covered = image.repeat(len(chosen), 1, 1, 1)
        for each, (row, column) in zip(covered, chosen, strict=True):
            each[:, row : row + side, column : column + side] = 0
        yield whole - _share(network, covered, label)


@torch.no_grad()
def _share(network: nn.Module, images: Images, label: int) -> Float[Tensor, " N"]:
    """Return how probable a class is, for each image."""
    shares: Float[Tensor, " N"] = network(images).softmax(1)[:, label]
    return shares


def spread(
    values: Float[Tensor, "h w"], starts: tuple[float, float], steps: tuple[float, float], size: tuple[int, int]
) -> Float[Tensor, "H W"]:
    """Return values at places of an image as values of its pixels, interpolated between the places' middles.

    Args:
        values: of places.
        starts: middle of the first place, down and across, in pixels.
        steps: from one middle to the next.
        size: (height, width) of the image.
    """
    grids = []
    for start, step, count, side in zip(starts, steps, values.shape, size, strict=True):
        place = ((torch.arange(side) + 0.5 - start) / step).clamp(0, count - 1)
        grids.append((place + 0.5) / count * 2 - 1)
    down, across = torch.meshgrid(*grids, indexing="ij")
    grid = torch.stack([across, down], -1)[None].to(values)
    return F.grid_sample(values[None, None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0, 0]
