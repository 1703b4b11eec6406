"""Which part of an image a network sees: rectangles, chosen by the image's size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

Size = tuple[int, int]
PROPORTIONS = (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle of an image, in its pixels and parts of them, that is scaled to a network's input.

    Args:
        top: of the rectangle.
        left: of it.
        height: of it.
        width: of it.
    """

    top: float
    left: float
    height: float
    width: float


# From an image's place among others and its (height, width).
Framing = Callable[[int, Size], Frame]


def whole(size: Size) -> Frame:
    """Return all of an image of (height, width)."""
    return Frame(0.0, 0.0, float(size[0]), float(size[1]))


def middle(size: Size, image_size: Size, crop_pct: float | None) -> Frame:
    """Return the middle of an image, in the proportions of ``image_size``.

    It is what one gets by scaling the image to whole pixels, so that ``image_size`` is ``crop_pct`` of the largest
    rectangle of its proportions, and cutting the middle out. The longer side is rounded; torchvision and timm drop the
    part of a pixel.

    Args:
        size: (height, width) of the image.
        image_size: that of the network's input.
        crop_pct: share of the sides that is kept; None for all of the image, its two sides scaled apart.
    """
    if crop_pct is None:
        return whole(size)
    scale = max(wanted / side for wanted, side in zip(image_size, size, strict=True)) / crop_pct
    (top, height), (left, width) = (
        _centred(side, max(round(side * scale), wanted), wanted) for side, wanted in zip(size, image_size, strict=True)
    )
    return Frame(top, left, height, width)


def _centred(side: int, scaled: int, wanted: int) -> tuple[float, float]:
    """Return where the middle begins and how long it is, of a side that is scaled first."""
    return (scaled - wanted) // 2 * side / scaled, wanted * side / scaled


def random_crop(size: Size, image_size: Size, smallest: float, draws: Sequence[float]) -> Frame:
    """Return a random rectangle of an image.

    Its area is a share of the image's, drawn between ``smallest`` and 1; its proportions are those of ``image_size``
    times a factor drawn between 3/4 and 4/3, evenly in its logarithm (Szegedy et al., "Going deeper with convolutions",
    2015, section 6). Where no such rectangle of that area fits in, it is the largest that does.

    Args:
        size: (height, width) of the image.
        image_size: that of the network's input.
        smallest: share of the area.
        draws: four numbers in [0, 1): for the area, the proportions and the place.
    """
    height, width = size
    area = height * width * (smallest + (1 - smallest) * draws[0])
    square = image_size[1] / image_size[0]
    least, most = (square * factor for factor in PROPORTIONS)
    low, high = max(least, area / height**2), min(most, width**2 / area)
    if low <= high:
        ratio = exp(log(low) + (log(high) - log(low)) * draws[1])
        rows, columns = sqrt(area / ratio), sqrt(area * ratio)
    else:
        ratio = min(max(width / height, least), most)
        rows = min(height, width / ratio)
        columns = rows * ratio
    rows, columns = float(min(rows, height)), float(min(columns, width))
    return Frame(draws[2] * (height - rows), draws[3] * (width - columns), rows, columns)
