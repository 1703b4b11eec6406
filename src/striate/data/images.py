"""Image files as arrays."""

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from striate.errors import UsageError


def read_image(path: Path, channels: int) -> UInt8[Tensor, "1 C H W"]:
    """Read one image file, turned as its EXIF orientation says.

    Args:
        path: of any format that Pillow reads.
        channels: 1 for grey, 3 for colour; the image is converted.

    Raises:
        UsageError: where there is no readable image at ``path``.
    """
    if channels not in (1, 3):
        raise UsageError(
            expected="a network with 1 or 3 input channels, to predict image files",
            received=f"one with {channels}",
            remedy="Image files are read as grey or as RGB.",
        )
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning), Image.open(path) as file:
            if file.mode in ("I", "F") or file.mode.startswith("I;16"):
                raise ValueError(f"more than 8 bits a channel (mode {file.mode})")
            image = ImageOps.exif_transpose(file).convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(
            expected="an image file",
            received=f"{path}: {error}",
            remedy="Give the path of a whole JPEG, PNG or other image that Pillow reads, with 8 bits a channel.",
        ) from error
    pixels = torch.from_numpy(np.array(image))
    return pixels.reshape(*pixels.shape[:2], channels).permute(2, 0, 1).unsqueeze(0).contiguous()
