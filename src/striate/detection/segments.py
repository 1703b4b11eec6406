"""The regions that selective search begins with, and what is known of each: size, box, colours, texture.

Uijlings, van de Sande, Gevers and Smeulders, "Selective search for object recognition", 2013, sections 3.1 and
3.2. What the paper leaves open and is ours: channels are scaled so that all their levels lie from 0 to 1; of a colour
space each channel has the same weight; texture is the half of a derivative above 0, since the eight directions are four
and their opposites, in bins up to the largest of its channel.
"""

from math import cos, pi, sin
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from scipy import ndimage
from skimage.color import rgb2gray, rgb2hsv, rgb2lab
from skimage.segmentation import felzenszwalb

ColourSpace = Literal["hsv", "lab", "rgi", "h", "i"]

COLOUR_BINS = 25  # Of each channel.
DIRECTIONS, TEXTURE_BINS = 8, 10  # The latter of each channel and direction.
DERIVATIVE_SIGMA = 1.0
SMOOTHING_SIGMA = 0.8  # Before the first regions are made, as Felzenszwalb and Huttenlocher have it (2004, section 5).
BOUNDS_OF_LAB = np.array([[0.0, 100.0], [-128.0, 127.0], [-128.0, 127.0]])


class Segments(NamedTuple):
    """Regions of an image, neighbours or one within another.

    Args:
        sizes: pixels of each.
        boxes_xyxy: around each.
        colour: of its pixels, the share in each bin; all bins of all channels add up to 1.
        texture: likewise.
    """

    sizes: Int64[np.ndarray, " R"]
    boxes_xyxy: Int64[np.ndarray, "R 4"]
    colour: Float64[np.ndarray, "R colours"]
    texture: Float64[np.ndarray, "R textures"]


def to_colour_space(image: UInt8[np.ndarray, "H W 3"], space: ColourSpace) -> Float64[np.ndarray, "H W C"]:
    """Return an image in one of the paper's colour spaces, all levels from 0 to 1.

    Args:
        image: red, green and blue.
        space: ``hsv``; ``lab``; ``rgi``, red and green as shares of the three, and grey; ``h``, the hue of HSV; ``i``,
            grey.
    """
    levels = image / 255.0
    if space == "lab":
        low, high = BOUNDS_OF_LAB.T
        lab: Float64[np.ndarray, "H W C"] = ((rgb2lab(levels) - low) / (high - low)).clip(0, 1)
        return lab
    if space in ("hsv", "h"):
        hsv: Float64[np.ndarray, "H W C"] = rgb2hsv(levels)
        return hsv if space == "hsv" else hsv[..., :1]
    grey: Float64[np.ndarray, "H W C"] = rgb2gray(levels)[..., None].clip(0, 1)
    if space == "i":
        return grey
    total = levels.sum(2, keepdims=True)
    shares = np.divide(levels, total, out=np.full_like(levels, 1 / 3), where=total > 0)
    return np.concatenate([shares[..., :2], grey], 2)


def segment(channels: Float64[np.ndarray, "H W C"], k: int) -> Int64[np.ndarray, "H W"]:
    """Return the number of the region that each pixel belongs to, counted from 0 (Felzenszwalb and Huttenlocher, 2004).

    Args:
        channels: levels from 0 to 1.
        k: how little regions want to be divided, in levels of 255; also the fewest pixels of one, as in the authors'
            program.
    """
    numbers = felzenszwalb(channels, scale=k, sigma=SMOOTHING_SIGMA, min_size=k, channel_axis=2)
    return np.asarray(numbers, np.int64)


def colour_bins(channels: Float64[np.ndarray, "H W C"]) -> Int64[np.ndarray, "C H W"]:
    """Return the bin of each pixel's level, from 0, in each channel."""
    return _bins(channels.transpose(2, 0, 1), COLOUR_BINS)


def texture_bins(channels: Float64[np.ndarray, "H W C"]) -> Int64[np.ndarray, "textures H W"]:
    """Return the bin of Gaussian derivatives at each pixel, from 0, in each direction of each channel."""
    made = []
    for levels in channels.transpose(2, 0, 1):
        across, down = (ndimage.gaussian_filter(levels, DERIVATIVE_SIGMA, order=order) for order in ((0, 1), (1, 0)))
        largest = max(float(np.hypot(across, down).max()), np.finfo(np.float64).tiny)
        for direction in range(DIRECTIONS):
            angle = 2 * pi * direction / DIRECTIONS
            along = cos(angle) / largest * across + sin(angle) / largest * down
            made.append(_bins(along, TEXTURE_BINS))
    return np.stack(made)


def _bins(levels: Float64[np.ndarray, "*planes H W"], count: int) -> Int64[np.ndarray, "*planes H W"]:
    return (levels * count).astype(np.int64).clip(0, count - 1)


def describe(
    numbers: Int64[np.ndarray, "H W"], colours: Int64[np.ndarray, "C H W"], textures: Int64[np.ndarray, "textures H W"]
) -> Segments:
    """Return what is known of each region, by number; arguments as the functions above give them."""
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(numbers + 1)]
    sizes = np.bincount(numbers.reshape(-1))
    return Segments(
        sizes,
        np.array(boxes, np.int64),
        _histograms(numbers, colours, COLOUR_BINS, sizes),
        _histograms(numbers, textures, TEXTURE_BINS, sizes),
    )


def _histograms(
    numbers: Int64[np.ndarray, "H W"], planes: Int64[np.ndarray, "P H W"], bins: int, sizes: Int64[np.ndarray, " R"]
) -> Float64[np.ndarray, "R bins"]:
    """Return the share of each region's pixels in each bin of each plane, over the number of planes."""
    first = numbers * bins
    counts = [
        np.bincount((first + plane).reshape(-1), minlength=len(sizes) * bins).reshape(-1, bins) for plane in planes
    ]
    shares: Float64[np.ndarray, "R bins"] = np.concatenate(counts, 1) / (sizes[:, None] * len(planes))
    return shares


def neighbours(numbers: Int64[np.ndarray, "H W"]) -> Int64[np.ndarray, "pairs 2"]:
    """Return the pairs of regions that have a side of a pixel in common, the smaller number first, in order."""
    count = int(numbers.max()) + 1
    sides = ((numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:]))
    keys = [(np.minimum(one, other) * count + np.maximum(one, other))[one != other] for one, other in sides]
    pairs = np.unique(np.concatenate(keys))
    return np.stack([pairs // count, pairs % count], 1)
