"""Between a stored image and a network's input: moving, turning, colours, normalisation."""

from math import radians

import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from striate.data.frames import middle
from striate.data.images import Picture
from striate.data.preprocessing import Preprocessing


def fit(picture: Picture, preprocessing: Preprocessing) -> UInt8[Tensor, "1 C H W"]:
    """Return the part of an image that a network sees, at its size."""
    frame = middle(picture.size, preprocessing.image_size, preprocessing.crop_pct)
    return picture.cut(frame, preprocessing.image_size, preprocessing.interpolation).unsqueeze(0)


def to_input(picture: Picture, preprocessing: Preprocessing) -> Float32[Tensor, "1 C H W"]:
    """Return one image as a network takes it."""
    return normalise(fit(picture, preprocessing), preprocessing)


def shift(images: UInt8[Tensor, "N C H W"], offsets: Int64[Tensor, "N 2"], fill: int = 0) -> UInt8[Tensor, "N C H W"]:
    """Move each image by its own (down, right) pixels; what comes in from outside is black, or another ``fill``."""
    count, _, height, width = images.shape
    border = int(offsets.abs().max()) if count else 0
    padded = F.pad(images, (border, border, border, border), value=fill)
    rows = torch.arange(height) + border - offsets[:, :1]
    columns = torch.arange(width) + border - offsets[:, 1:]
    picked = padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()


def turn(
    images: UInt8[Tensor, "N C H W"],
    degrees: float,
    zoom: float,
    draws: Float64[Tensor, "N 3"],
    fill: int | None = None,
) -> UInt8[Tensor, "N C H W"]:
    """Turn each image about its middle, and stretch its two sides apart; the outermost pixels go on beyond the edge.

    Args:
        images: any.
        degrees: of the largest turn, to either side.
        zoom: largest share by which a side becomes longer or shorter.
        draws: numbers in [0, 1), for the angle and the two sides.
        fill: of classes, what is beyond the edge; each pixel is that of the nearest then, none a mixture of others.
    """
    spread = (2 * draws - 1).float()
    angle, rows, columns = spread[:, 0] * radians(degrees), 1 + zoom * spread[:, 1], 1 + zoom * spread[:, 2]
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    height, width = images.shape[2:]
    # From places in the result to places in the image, each side from -1 to 1.
    across = torch.stack([cos / columns, -sin * height / width / rows, none], 1)
    down = torch.stack([sin * width / height / columns, cos / rows, none], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=False)
    if fill is None:
        turned = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    else:  # Beyond the edge there are zeros.
        turned = F.grid_sample(images.float() - fill, grid, mode="nearest", align_corners=False) + fill
    return turned.round().to(torch.uint8)


def jitter(
    images: UInt8[Tensor, "N C H W"], strength: float, draws: Float64[Tensor, "N 3"]
) -> UInt8[Tensor, "N C H W"]:
    """Change brightness, contrast and saturation of each image, by factors between 1 - ``strength`` and 1 + it.

    Args:
        images: saturation is that of RGB ones alone.
        strength: from 0 to 1.
        draws: numbers in [0, 1), a factor each.
    """
    from kornia.enhance import (
        adjust_brightness_accumulative,
        adjust_contrast_with_mean_subtraction,
        adjust_saturation_with_gray_subtraction,
    )

    factors = (1 + strength * (2 * draws - 1)).float()
    levels = adjust_brightness_accumulative(images.float() / 255, factors[:, 0])
    if images.shape[1] == 3:
        levels = adjust_contrast_with_mean_subtraction(levels, factors[:, 1])
        levels = adjust_saturation_with_gray_subtraction(levels, factors[:, 2])
    return (levels.clamp(0, 1) * 255).round().to(torch.uint8)


def normalise(images: UInt8[Tensor, "N C H W"], preprocessing: Preprocessing) -> Float32[Tensor, "N C H W"]:
    """Return (image / 255 - mean) / std, channel by channel."""
    mean = torch.tensor(preprocessing.mean).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    return images.float().div_(255).sub_(mean).div_(std)
