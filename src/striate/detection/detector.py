"""The frame of every network that finds things: feature layers of a backbone, and what looks for things on its maps.

Whatever is in an image, all shapes are known before it runs: so many proposals, so many results, some of them empty.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from striate.blocks.contract import FeatureInfo
from striate.blocks.network import Images, Network
from striate.detection.found import Detected


class Detector(Network):
    """Things in images.

    Args:
        backbone: whose feature layers are used, up to the last map that is looked at.
        strides: of the maps that are, the finest first.
    """

    mask_side: ClassVar[int | None] = None  # Of the masks that it learns from.

    def __init__(self, backbone: Network, strides: tuple[int, ...]) -> None:
        infos = tuple(backbone.map_at(stride) for stride in strides)
        last = max(map(backbone.feature_info.index, infos))
        super().__init__(
            _up_to(backbone.features, backbone.feature_info[last]), backbone.feature_info[: last + 1], None
        )
        self.infos = infos

    @abstractmethod
    def forward(self, x: Images) -> Detected:
        """Return what is in images of any size."""

    @abstractmethod
    def losses(self, images: Images, *truths: Tensor) -> Mapping[str, Tensor]:
        """Return by name what is to become small, each the mean over the images.

        Args:
            images: as the network takes them.
            truths: what is in them: `Truths`, one by one.
        """

    @abstractmethod
    def fit_anchors(self, sides: Float[Tensor, "K 2"]) -> None:
        """Have the network begin from boxes like those that it is to find.

        Args:
            sides: widths and heights of things, in pixels of images as the network takes them.
        """


def _up_to(features: nn.Sequential, last: FeatureInfo) -> nn.Sequential:
    """Return feature layers without those behind the last map that is used: nothing would learn there."""
    names = [name for name, _ in features.named_children()]
    used = features[: names.index(last.module or last.name) + 1]
    assert isinstance(used, nn.Sequential)
    return used
