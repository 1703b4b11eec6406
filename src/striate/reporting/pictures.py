"""Pixels as picture files."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from striate.files import replace_file


def to_image(pixels: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    """Return an image of one channel, or of three."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def write_png(path: Path, pixels: UInt8[np.ndarray, "h w c"]) -> None:
    """Write a PNG file, whole or not at all.

    Raises:
        StriateError: where the file system refuses.
    """
    image = to_image(pixels)
    replace_file(path, lambda beside: image.save(beside, format="PNG"))
