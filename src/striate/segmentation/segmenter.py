"""The frame of every network that says a class for each pixel: a backbone, a decoder of its maps, and what enlarges.

Pooling and strides lose where things are: a backbone's last map has a place for 32 x 32 pixels. What the networks of
this package differ in is how they get that back: from earlier, finer maps (`fcn`, `unet`), or by never losing it
(`deeplab`).
"""

from abc import abstractmethod
from math import lcm

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.network import Images, Network


class Segmenter(Network):
    """A class for each pixel.

    An image is filled up with zeros at its bottom and right to a multiple of the largest stride, so that maps lie on
    each other as they should, and the result is cut to the image's size again.

    Args:
        backbone: whose feature layers are used; its head is not.
        strides: of the maps that are.
    """

    def __init__(self, backbone: Network, strides: tuple[int, ...]) -> None:
        super().__init__(backbone.features, backbone.feature_info)
        self.infos = tuple(backbone.map_at(stride) for stride in strides)
        self._multiple = lcm(*strides)

    @abstractmethod
    def decode(self, maps: dict[str, Tensor]) -> Float[Tensor, "N K H W"]:
        """Return logits for each pixel of the image that these are the maps of."""

    def forward(self, x: Images) -> Float[Tensor, "N K H W"]:
        """Return logits for each pixel of images of any size."""
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self._multiple, 0, -height % self._multiple))
        return fitted(self.decode(self.feature_maps(x)), x)[:, :, :height, :width]


def fitted(x: Tensor, like: Tensor) -> Tensor:
    """Return a map in the size of another, which it has already where the backbone pads its maps as most do."""
    return x if x.shape[-2:] == like.shape[-2:] else F.interpolate(x, like.shape[-2:], mode="bilinear")


def bilinear_kernel(factor: int) -> Float[Tensor, "k k"]:
    """Return the kernel with which a transposed convolution of stride ``factor`` enlarges bilinearly.

    Its side is 2 · factor: a place's share falls from 1 at itself to 0 at the next one (Long, Shelhamer and Darrell,
    "Fully convolutional networks for semantic segmentation", 2015, section 3.3).
    """
    away = (torch.arange(2 * factor, dtype=torch.float32) - (factor - 0.5)).abs() / factor
    shares = 1 - away
    return shares[:, None] * shares


def upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution that enlarges each map bilinearly to begin with, and learns on from there."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, padding=factor // 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(channels):
            layer.weight[channel, channel] = bilinear_kernel(factor)
    return layer
