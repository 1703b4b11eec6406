"""A class for each pixel, in colours."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from striate.results import UNKNOWN, Colour

PALETTE = 256


def usual_colours(count: int) -> tuple[Colour, ...]:
    """Return a colour for each class: black, and others as far apart as their bits allow.

    They are those in which masks of the Pascal VOC challenge are kept (Everingham et al., 2010): the lowest three bits
    of a class are the highest bits of red, green and blue, its next three the next ones, and so on.
    """
    colours = []
    for number in range(count):
        red, green, blue = (
            sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
        )
        colours.append((red, green, blue))
    return tuple(colours)


def palette_of(colours: Sequence[Colour]) -> list[int]:
    """Return the 256 colours of a picture whose pixels are classes, one number after the other; white for the unknown.

    Args:
        colours: of each class.
    """
    known = [*colours, *usual_colours(PALETTE)[len(colours) :]]
    return [level for colour in [*known[:UNKNOWN], (255, 255, 255)] for level in colour]


def paint_mask(mask: UInt8[np.ndarray, "h w"], colours: Sequence[Colour]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a mask in the colours of its classes; white where the class is not known."""
    painted: UInt8[np.ndarray, "h w 3"] = np.array(palette_of(colours), np.uint8).reshape(PALETTE, 3)[mask]
    return painted


def lay_over(
    image: UInt8[np.ndarray, "h w c"], mask: UInt8[np.ndarray, "h w"], colours: Sequence[Colour]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image, grey or of colour, under a mask of its size, half and half."""
    # In 16 bits, which for a large image is a quarter of what floats would take.
    made: UInt8[np.ndarray, "h w 3"] = ((image.astype(np.uint16) + paint_mask(mask, colours) + 1) // 2).astype(np.uint8)
    return made
