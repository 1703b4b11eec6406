"""U-Net: down and up again, with all that was seen on the way down.

Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015, figure 1. What
it brought: as many layers on the way up as on the way down, each of which has the map of its own size from the way down
put beside its own, with all its channels, where FCN adds scores. With a backbone whose maps have strides 2 to 32:

    level   from below, enlarged   beside it              made of both
    1       1/16                   the map of stride 16   256 channels
    2       1/8                    of stride 8            128
    3       1/4                    of stride 4             64
    4       1/2                    of stride 2             32
    5       1                      nothing                 16

Deviations: on any backbone, where the paper's way down is one of its own; batch norm (Ioffe and Szegedy, 2015) behind
each convolution; padding, so that the result has the image's size, where the paper's is smaller by 184 pixels.
"""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.blocks.convolution import convolution
from striate.blocks.initialisation import initialise
from striate.blocks.network import Network
from striate.segmentation.segmenter import Segmenter, fitted

WIDTHS = (256, 128, 64, 32, 16)


class Level(nn.Module):
    """One step up: enlarged twice, the finer map put beside it, two convolutions.

    Args:
        in_chans: from below.
        beside: channels of the finer map; 0 where there is none.
        width: channels that go out.
    """

    def __init__(self, in_chans: int, beside: int, width: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(in_chans, width, 2, stride=2)
        self.mix = nn.Sequential(
            OrderedDict(first=convolution(width + beside, width, 3), second=convolution(width, width, 3))
        )

    def forward(self, below: Tensor, beside: Tensor | None) -> Tensor:
        """Return the map of this level."""
        x = self.enlarge(below)
        made: Tensor = self.mix(x if beside is None else torch.cat([fitted(x, beside), beside], 1))
        return made


class UNet(Segmenter):
    """A level for each halving of the backbone.

    Args:
        backbone: whose maps are used.
        num_classes: logits per pixel.
    """

    def __init__(self, backbone: Network, num_classes: int) -> None:
        super().__init__(backbone, (32, 16, 8, 4, 2))
        deepest, *finer = self.infos
        beside = [*(info.channels for info in finer), 0]
        below = [deepest.channels, *WIDTHS[:-1]]
        self.levels = nn.ModuleList(Level(*sizes) for sizes in zip(below, beside, WIDTHS, strict=True))
        self.head = nn.Conv2d(WIDTHS[-1], num_classes, 1)
        initialise(self.levels, "he")

    def decode(self, maps: dict[str, Tensor]) -> Float[Tensor, "N K H W"]:
        """Return logits for each pixel."""
        deepest, *finer = self.infos
        x = maps[deepest.name]
        for level, info in zip(self.levels, [*finer, None], strict=True):
            x = level(x, None if info is None else maps[info.name])
        logits: Tensor = self.head(x)
        return logits

    def output_layers(self) -> list[str]:
        """Return the last layer."""
        return ["head"]


def unet(backbone: Network, *, num_classes: int = 21) -> UNet:
    """Build the network.

    Args:
        backbone: with maps of strides 2, 4, 8, 16 and 32.
        num_classes: logits per pixel.
    """
    return UNet(backbone, num_classes)
