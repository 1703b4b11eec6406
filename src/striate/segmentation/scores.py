"""How right a class for each pixel is: shares of pixels, overlaps of regions, and both near the borders of regions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class PixelScores:
    """What a class for each pixel is worth, on pixels whose class is known.

    Args:
        accuracy: the share of the pixels that is right; None where there are none.
        ious: of each class, the pixels that are of it and said to be, as a share of those that are either (Everingham
            et al., "The Pascal visual object classes challenge", 2015, section 3.3); None where there are no such.
    """

    accuracy: float | None
    ious: tuple[float | None, ...]

    @property
    def mean_iou(self) -> float | None:
        """The mean over the classes that are there, or said to be; None where none is."""
        known = [iou for iou in self.ious if iou is not None]
        return sum(known) / len(known) if known else None


def overlaps(
    said: Int64[Tensor, "N H W"], truth: Int64[Tensor, "N H W"], classes: int, where: Bool[Tensor, "N H W"]
) -> Int64[Tensor, "N 3 K"]:
    """Return how many pixels of each image are of each class and said to be, are said to be, and are.

    Args:
        said: the class of each pixel.
        truth: likewise.
        classes: how many there are.
        where: pixels that count; the class of all others may be any number.
    """
    count = len(said)
    first = torch.arange(count, device=said.device)[:, None, None] * classes
    one = torch.ones((), dtype=torch.int64, device=said.device)

    def counted(pixels: Tensor, those: Tensor) -> Tensor:
        places = torch.where(
            those, first + pixels, count * classes
        ).flatten()  # The last is for those that do not count.
        bins = torch.zeros(count * classes + 1, dtype=torch.int64, device=said.device)
        return bins.scatter_add_(0, places, one.expand(len(places)))[:-1].view(count, classes)

    return torch.stack([counted(said, where & (said == truth)), counted(said, where), counted(truth, where)], 1)


def scores_of(counts: Int64[Tensor, "3 K"]) -> PixelScores:
    """Return what such counts, added up over all images, are worth."""
    right, taken, true = counts
    either = taken + true - right
    ious = [int(a) / int(b) if b else None for a, b in zip(right, either, strict=True)]
    return PixelScores(int(right.sum()) / int(true.sum()) if int(true.sum()) else None, tuple(ious))


def boundary_band(truth: Int64[Tensor, "N H W"], known: Bool[Tensor, "N H W"], width: int) -> Bool[Tensor, "N H W"]:
    """Return the pixels at most ``width`` away, along rows and columns, from one whose neighbour is of another class.

    Restricted to these, scores say how well a network knows where things end (Kohli, Ladický and Torr, "Robust higher
    order potentials for enforcing label consistency", 2009, section 5.2).

    Args:
        truth: the class of each pixel.
        known: whether it is; a border with what is not known is none.
        width: in pixels; 0 for the pixels at the border alone.
    """
    border = torch.zeros_like(known)
    for dim in (1, 2):
        length = truth.shape[dim] - 1
        one, other = (truth.narrow(dim, start, length) for start in (0, 1))
        both = known.narrow(dim, 0, length) & known.narrow(dim, 1, length)
        differ = (one != other) & both
        border.narrow(dim, 0, length).logical_or_(differ)
        border.narrow(dim, 1, length).logical_or_(differ)
    spread = F.max_pool2d(border.float().unsqueeze(1), 2 * width + 1, 1, width).squeeze(1)
    return (spread > 0) & known


def median_frequency_weights(pixels: Sequence[int]) -> tuple[float, ...]:
    """Return a weight for each class, larger for rarer ones: the median of all shares over its own.

    Eigen and Fergus, "Predicting depth, surface normals and semantic labels", 2015, section 6.3, with the share of all
    pixels in place of that of the images with the class.

    Args:
        pixels: of each class; a class without any has a weight of 1.
    """
    shares = torch.tensor([count for count in pixels if count], dtype=torch.float64)
    middle = float(shares.quantile(0.5)) if len(shares) else 1.0
    return tuple(middle / count if count else 1.0 for count in pixels)
