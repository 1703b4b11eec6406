"""Where things may be, without a network: regions that are alike, merged again and again, and the boxes around them.

Uijlings, van de Sande, Gevers and Smeulders, "Selective search for object recognition", 2013, where R-CNN and
Fast R-CNN have their proposals from. No strategy of merging is right for all things, so that there are many: colour
spaces, measures of likeness, and sizes of the first regions (section 3.2).

The two modes are the paper's (section 5): "fast" has 8 strategies, "quality" 80. What is ours: images are searched at a
longer side of 500 pixels at most (the paper's are of that size, and R-CNN scales to a width of 500); small boxes are
not left out; the random numbers that mix the strategies are the same for all images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from PIL import Image

from striate.detection.grouping import Measure, group
from striate.detection.proposals import SearchMode
from striate.detection.segments import (
    ColourSpace,
    colour_bins,
    describe,
    neighbours,
    segment,
    texture_bins,
    to_colour_space,
)

LONGER_SIDE = 500  # Pixels at which an image is searched.
SEED = 2013


class Strategies(NamedTuple):
    """What is combined, each with each.

    Args:
        spaces: of colour.
        ks: of the first regions.
        measures: of likeness.
    """

    spaces: tuple[ColourSpace, ...]
    ks: tuple[int, ...]
    measures: tuple[frozenset[Measure], ...]


COMBINED = (
    frozenset[Measure](("colour", "texture", "size", "fill")),
    frozenset[Measure](("texture", "size", "fill")),
)
STRATEGIES: dict[SearchMode, Strategies] = {
    "fast": Strategies(("hsv", "lab"), (50, 100), COMBINED),
    "quality": Strategies(
        ("hsv", "lab", "rgi", "h", "i"),
        (50, 100, 150, 300),
        (*COMBINED, frozenset[Measure](("fill",)), frozenset[Measure](("size",))),
    ),
}


def selective_search(image: UInt8[np.ndarray, "H W 3"], mode: SearchMode = "fast") -> Float32[np.ndarray, "K 4"]:
    """Return the boxes in which something may be, xyxy in pixels of the image, the best first, each once.

    The first regions of each strategy are boxes, too, and the last is the whole of the image. The i-th region from the
    last is worth i times a random number from 0 to 1, and the boxes of all strategies come in that order, the least
    first (section 4): otherwise the large ones would come before all others. The same image has the same boxes.

    Args:
        image: red, green and blue; of a grey one, three times the same.
        mode: "fast" gives some 2,000 to 5,000 boxes of a photograph; "quality" four times as many, in four times the
            time.
    """
    height, width = image.shape[:2]
    small = _scaled(image)
    spaces, ks, measures = STRATEGIES[mode]
    boxes, values = [], []
    for space in spaces:
        channels = to_colour_space(small, space)
        colours, textures = colour_bins(channels), texture_bins(channels)
        for k in ks:
            numbers = segment(channels, k)
            regions, pairs = describe(numbers, colours, textures), neighbours(numbers)
            for chosen in measures:
                boxes.append(group(regions, pairs, chosen))
                drawn = np.random.default_rng([SEED, len(boxes)]).random(len(boxes[-1]))
                values.append(np.arange(len(drawn), 0, -1) * drawn)
    best = _distinct(np.concatenate(boxes), np.concatenate(values))
    scale = np.array([width, height, width, height]) / np.array([small.shape[1], small.shape[0]] * 2)
    return np.asarray((best * scale).clip(0, [width, height] * 2), np.float32)


def _scaled(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width = image.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _distinct(boxes: Int64[np.ndarray, "N 4"], values: Float64[np.ndarray, " N"]) -> Int64[np.ndarray, "K 4"]:
    """Return boxes in the order of their values, the least first, each where it comes first."""
    ordered = boxes[np.argsort(values, kind="stable")]
    keys = ordered @ (LONGER_SIDE + 1) ** np.arange(4)
    _, first = np.unique(keys, return_index=True)
    return ordered[np.sort(first)]
