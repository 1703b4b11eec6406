"""A pyramid of maps that all have seen as much: what the coarse ones say is added to the fine ones.

Lin, Dollár, Girshick, He, Hariharan and Belongie, "Feature pyramid networks for object detection", 2017, section 3.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class FeaturePyramid(nn.Module):
    """Maps of as many channels each, at the strides of a backbone's.

    Args:
        in_channels: of the backbone's maps, the finest first.
        channels: of the pyramid's.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(own, channels, 1) for own in in_channels)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the pyramid of some maps, the finest first."""
        made: list[Tensor] = []
        above: Tensor | None = None
        for own, lateral, smooth in reversed(list(zip(maps, self.lateral, self.smooth, strict=True))):
            sideways = lateral(own)
            above = sideways if above is None else sideways + F.interpolate(above, sideways.shape[-2:], mode="nearest")
            made.append(smooth(above))
        return made[::-1]
