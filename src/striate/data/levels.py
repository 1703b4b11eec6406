"""What the pixels of a mask's file hold, as numbers: nothing about them is converted."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from striate.data.images import Tiff, opened
from striate.data.names import MAX_PIXELS

COLOUR = 1 << 24  # Added to red · 65,536 + green · 256 + blue, so that no number is taken for a colour.
# Formats that keep pixels as they are, and what Pillow makes of numbers that have less than a byte in a PNG.
KEPT = ("PNG", "GIF", "BMP", "DIB", "TIFF", "PPM")
SPREAD = {"L;2": 85, "L;4": 17}
ABOUT = "which keeps pixels only about as they were"


def read_held(path: Path, colours: Collection[int] = (), max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """Return what the pixels of a mask hold, upright, H x W: numbers, or colours as numbers from ``COLOUR`` on.

    A picture with a palette holds numbers, unless all that it uses of its palette are among ``colours``: then it was a
    picture of colours once, and its numbers are in any order. Transparency is not looked at.

    Raises:
        ImageFileError: where there is no mask, or one whose pixels are not as they were when it was made.
    """
    with opened(path, max_pixels, of_levels=False) as image:
        if isinstance(image, Tiff):
            return _numbers(image.read_as_is())
        if image.format not in KEPT or image.info.get("compression") in ("jpeg", "webp"):
            raise ValueError(f"a {image.format}, {ABOUT}")
        if image.format == "TIFF" and image.mode in ("1", "I", "F"):
            with path.open("rb") as stream, Tiff(stream) as page:  # Pillow turns black and white around.
                return _numbers(page.read_as_is())
        raw = _raw_mode(image)
        if "16" in raw and not raw.startswith("I;16"):
            raise ValueError(f"{raw.partition(';')[0]} of 16 bits, of which colours and transparency lose half")
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("LA", "PA"):
            upright = upright.getchannel(0)
        if upright.mode == "P" and colours:
            held = _colours(np.asarray(upright.convert("RGB")))
            if set(np.unique(held).tolist()) <= set(colours):
                return held
        levels = np.asarray(upright)
        return _numbers(levels // SPREAD[raw] if raw in SPREAD else levels)


def _raw_mode(image: Image.Image) -> str:
    """Return how Pillow calls the bits of a file, such as ``L;4``; nothing where they are whole bytes."""
    tiles = image.tile if isinstance(image, ImageFile) else []
    args = tiles[0].args if tiles else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _numbers(levels: NDArray[Any]) -> NDArray[Any]:
    if levels.dtype.kind not in "bui" or levels.ndim not in (2, 3) or levels.shape[2:] not in ((), (3,), (4,)):
        raise ValueError(f"{levels.shape[2:] or 'levels'} of {levels.dtype}, where a number or a colour is wanted")
    if levels.ndim == 3:
        return _colours(levels)
    return levels.astype(np.uint8) if levels.dtype == bool else levels


def _colours(levels: NDArray[Any]) -> NDArray[np.int32]:
    red, green, blue = (levels[:, :, place].astype(np.int32) for place in range(3))
    held: NDArray[np.int32] = COLOUR + (red << 16) + (green << 8) + blue
    return held
