"""Where in an image a class is, painted over it."""

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps

from striate.results import ClassMap

COLOURS = "inferno"
LEAST, MOST = 0.25, 0.75  # Shares of the colour where a class is not, and where it surely is.


def paint(image: UInt8[np.ndarray, "h w c"], found: ClassMap, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image in grey, under colours that say how probable a class is: dark for 0, bright for 1.

    Each place's probability is painted at the middle of its window, and those between are interpolated.

    Args:
        image: grey or of colour; it may be smaller than the one that the map is of.
        found: classes at each place.
        name: of the class.
    """
    height, width = image.shape[:2]
    rows, columns = (
        _weights(side, whole, count, window, stride)
        for side, whole, count, window, stride in zip(
            (height, width), found.image_size, found.of(name).shape, found.window, found.stride, strict=True
        )
    )
    return lay_over(image, rows @ found.of(name).astype(np.float64) @ columns.T)


def lay_over(image: UInt8[np.ndarray, "h w c"], shares: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image in grey, under colours that say how much there is of something: dark for 0, bright for 1.

    Args:
        image: grey or of colour.
        shares: of each pixel, from 0 to 1.
    """
    grey = image.astype(np.float64).mean(2, keepdims=True).repeat(3, 2)
    colours = colormaps[COLOURS](shares)[:, :, :3] * 255
    much = (LEAST + (MOST - LEAST) * shares)[:, :, None]
    painted: UInt8[np.ndarray, "h w 3"] = (grey * (1 - much) + colours * much).round().clip(0, 255).astype(np.uint8)
    return painted


def _weights(side: int, whole: int, count: int, window: int, stride: int) -> np.ndarray:
    """Return how much each place counts at each pixel of one side."""
    pixels = (np.arange(side) + 0.5) * whole / side
    middles = np.arange(count) * stride + window / 2
    return np.stack([np.interp(pixels, middles, row) for row in np.eye(count)], 1)
