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
from striate.detection.proposals import ProposalSearch


class Detector(Network):
    """Things in images of any size: ``forward`` is given images and returns what is `Detected` in them.

    One with a `search` is given proposals besides, N x P x 4: boxes in which something may be, xyxy in pixels of the
    images; of no extent where there is none.

    Args:
        backbone: whose feature layers are used, up to the last map that is looked at.
        strides: of the maps that are, the finest first.
    """

    proposing: ClassVar[tuple[str, ...]] = ()  # The parts that make proposals.
    mask_side: ClassVar[int | None] = None  # Of the masks that it learns from.
    search: ProposalSearch | None = None  # Where its proposals come from, unless it makes them itself.

    def __init__(self, backbone: Network, strides: tuple[int, ...]) -> None:
        infos = tuple(backbone.map_at(stride) for stride in strides)
        last = max(map(backbone.feature_info.index, infos))
        super().__init__(
            _up_to(backbone.features, backbone.feature_info[last]), backbone.feature_info[: last + 1], None
        )
        self.infos = infos

    @abstractmethod
    def losses(self, images: Images, *given: Tensor) -> Mapping[str, Tensor]:
        """Return by name what is to become small, each the mean over the images.

        Args:
            images: as the network takes them.
            given: proposals, where it is shown some, then what is in the images: `Truths`, one by one.
        """

    def fit_anchors(self, _sides: Float[Tensor, "K 2"]) -> None:
        """Have the network begin from boxes like those that it is to find; as it is, where it begins from none.

        Args:
            _sides: widths and heights of things, in pixels of images as the network takes them.
        """
        return


def _up_to(features: nn.Sequential, last: FeatureInfo) -> nn.Sequential:
    """Return feature layers without those behind the last map that is used: nothing would learn there."""
    names = [name for name, _ in features.named_children()]
    used = features[: names.index(last.module or last.name) + 1]
    assert isinstance(used, nn.Sequential)
    return used
