"""Between a stored image and a network's input: resizing, small shifts, normalisation."""

from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F


def resize(images: UInt8[Tensor, "N C h w"], image_size: tuple[int, int]) -> UInt8[Tensor, "N C H W"]:
    """Return images of (height, width), bilinear and antialiased as PIL does it, to one level in 255.

    The sides are scaled apart where the proportions differ.
    """
    if images.shape[-2:] == image_size:
        return images
    return F.interpolate(images, size=image_size, mode="bilinear", antialias=True)


def shift(images: UInt8[Tensor, "N C H W"], offsets: Int64[Tensor, "N 2"]) -> UInt8[Tensor, "N C H W"]:
    """Move each image by its own (down, right) pixels; what comes in from outside is black."""
    count, _, height, width = images.shape
    border = int(offsets.abs().max()) if count else 0
    padded = F.pad(images, (border, border, border, border))
    rows = torch.arange(height) + border - offsets[:, :1]
    columns = torch.arange(width) + border - offsets[:, 1:]
    picked = padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes the network's input; it travels with the weights.

    Args:
        image_size: (height, width) that the network takes.
        mean: of each channel over the training images, on the scale from 0 to 1.
        std: their standard deviation, likewise.
    """

    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def measure(cls, images: UInt8[Tensor, "N C H W"]) -> "Preprocessing":
        """Take mean and standard deviation from the training images, summed in integers and so exactly."""
        mean, std = [], []
        for channel in range(images.shape[1]):
            levels = torch.bincount(images[:, channel].flatten(), minlength=256)
            values = torch.arange(256, dtype=torch.int64)
            count = int(levels.sum())
            total, squares = int((levels * values).sum()), int((levels * values**2).sum())
            variance = (squares - total**2 / count) / count
            mean.append(total / count / 255)
            # A channel of one level has nothing to scale.
            std.append(variance**0.5 / 255 if variance > 0 else 1.0)
        return cls((images.shape[2], images.shape[3]), tuple(mean), tuple(std))

    def normalise(self, images: UInt8[Tensor, "N C H W"]) -> Float32[Tensor, "N C H W"]:
        """Return (image / 255 - mean) / std, channel by channel."""
        mean = torch.tensor(self.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.std).view(1, -1, 1, 1)
        return images.float().div_(255).sub_(mean).div_(std)
