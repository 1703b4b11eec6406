"""Boxes drawn on images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image, ImageDraw

from striate.reporting.masks import usual_colours
from striate.results import Colour

LIFT = 63  # Added to each level but 0: frames are thin, and hard to see where they are dark.
DARKEST = 128


def box_colours(count: int) -> tuple[Colour, ...]:
    """Return a colour for each class, those of masks made brighter; the dark ones are left out."""
    bright = [colour for colour in usual_colours(256) if max(colour) >= DARKEST]
    chosen = (bright[number % len(bright)] for number in range(count))
    return tuple((_lift(red), _lift(green), _lift(blue)) for red, green, blue in chosen)


def _lift(level: int) -> int:
    return min(level + LIFT, 255) if level else 0


def draw_boxes(
    image: UInt8[np.ndarray, "h w c"],
    xyxy: Float32[np.ndarray, "K 4"],
    labels: Int64[np.ndarray, " K"],
    colours: Sequence[Colour],
    dashed: Sequence[bool] = (),
) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image, grey or of colour, with a frame around each box.

    Args:
        image: to draw on; it stays as it is.
        xyxy: the boxes, in its pixels.
        labels: of each, the place of its colour.
        colours: of the classes.
        dashed: whether a frame is broken, as of what is ignored; none is by default.
    """
    picture = Image.fromarray(np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3))))
    pen = ImageDraw.Draw(picture)
    broken = [*dashed, *[False] * (len(xyxy) - len(dashed))]
    for box, label, is_broken in zip(xyxy.tolist(), labels.tolist(), broken, strict=True):
        left, top = (round(edge) for edge in box[:2])
        right, bottom = (max(round(last) - 1, first) for last, first in zip(box[2:], (left, top), strict=True))
        if is_broken:
            _dash(pen, (left, top, right, bottom), colours[label])
        else:
            pen.rectangle((left, top, right, bottom), outline=colours[label])
    drawn: UInt8[np.ndarray, "h w 3"] = np.asarray(picture)
    return drawn


def _dash(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: Colour) -> None:
    left, top, right, bottom = box
    pen.point([(x, y) for x in range(left, right + 1) if (x - left) % 6 < 3 for y in (top, bottom)], fill=colour)
    pen.point([(x, y) for y in range(top, bottom + 1) if (y - top) % 6 < 3 for x in (left, right)], fill=colour)
