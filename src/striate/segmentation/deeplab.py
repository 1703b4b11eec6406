"""DeepLabv3: spatial detail that is not lost, and windows of several sizes on it.

Chen, Papandreou, Schroff and Adam, "Rethinking atrous convolution for semantic image segmentation", 2017, section 3.3
and figure 5. What it brought: the backbone's last strides become dilation, so that its last map has a place for 16 x 16
pixels, or 8 x 8, instead of 32 x 32; and five branches on it that see differently far:

    branch      window                              channels
    1           1x1                                 256
    2, 3, 4     3x3, dilated by 6, 12 and 18        256 each (twice as far at an output stride of 8)
    5           the mean of the whole map           256, spread over it again
    all         1x1, batch norm, ReLU               256
    head        1x1                                 classes, enlarged bilinearly to the image

Deviation: no batch norm on the mean, which is one value for each image and channel: on one image at a time, as within a
budget, it would have no variance. No multi-grid: all layers behind the last stride are dilated alike.
"""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.convolution import convolution
from striate.blocks.initialisation import initialise
from striate.blocks.network import Network
from striate.segmentation.segmenter import Segmenter

WIDTH = 256
RATES = (6, 12, 18)
BACKBONE_OPTIONS = {"output_stride": 16}


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: branches that see differently far, put together.

    Args:
        in_chans: of the map.
        rates: dilation of the three branches.
    """

    def __init__(self, in_chans: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        branches = [convolution(in_chans, WIDTH, 1)]
        branches += [convolution(in_chans, WIDTH, 3, dilation=rate) for rate in rates]
        self.branches = nn.ModuleList(branches)
        self.mean = nn.Sequential(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(1), reduce=convolution(in_chans, WIDTH, 1, norm=None))
        )
        self.mix = convolution(WIDTH * (len(branches) + 1), WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of as many places."""
        made = [branch(x) for branch in self.branches]
        made.append(F.interpolate(self.mean(x), x.shape[-2:], mode="bilinear"))
        mixed: Tensor = self.mix(torch.cat(made, 1))
        return mixed


class DeepLab(Segmenter):
    """A pyramid on a backbone's last map.

    Args:
        backbone: with dilation in place of its last strides.
        num_classes: logits per pixel.
    """

    def __init__(self, backbone: Network, num_classes: int) -> None:
        super().__init__(backbone, tuple(info.stride for info in backbone.feature_info[-1:]) or (16,))
        (last,) = self.infos
        scale = max(16 // last.stride, 1)
        self.decoder = ASPP(last.channels, tuple(rate * scale for rate in RATES))
        self.head = nn.Conv2d(WIDTH, num_classes, 1)
        initialise(self.decoder, "he")

    def decode(self, maps: dict[str, Tensor]) -> Float[Tensor, "N K H W"]:
        """Return logits for each pixel."""
        (info,) = self.infos
        scores = self.head(self.decoder(maps[info.name]))
        return F.interpolate(scores, scale_factor=info.stride, mode="bilinear")

    def output_layers(self) -> list[str]:
        """Return the last layer."""
        return ["head"]


def deeplabv3(backbone: Network, *, num_classes: int = 21) -> DeepLab:
    """Build the network.

    Args:
        backbone: with an output stride of 16 or 8.
        num_classes: logits per pixel.
    """
    return DeepLab(backbone, num_classes)
