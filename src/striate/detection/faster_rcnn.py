"""Faster R-CNN: a network that proposes where things may be, on the maps in which another looks what they are.

Ren, He, Girshick and Sun, "Faster R-CNN: towards real-time object detection with region proposal networks", 2015. What
it brought: proposals are no longer made by another program (selective search, two seconds an image) but by two small
layers on the maps that the detector has computed anyway, and both are trained together, in one network (section 3.2,
"approximate joint training"). On an image of H x W, with K classes and A anchors at each place:

    step                      gives
    backbone                  C x H/16 x W/16
    3 x 3 convolution, ReLU   C x H/16 x W/16
    two 1 x 1 convolutions    a score and 4 offsets of each of A x H/16 x W/16 anchors
    the best, suppressed      300 proposals; to learn from, 128 of 1,000, a quarter of them on things
    RoI pooling               C x 7 x 7 of each
    two dense layers, ReLU    1,024 numbers
    two dense layers          K + 1 scores, and 4 offsets for each of K classes
    for each class, the best, suppressed

With ``pyramid`` the proposals are made on three maps of a pyramid, of strides 8, 16 and 32, by the same layers, with
anchors of one size on each, and each proposal is looked up on the map that fits its size (Lin et al., "Feature pyramid
networks", 2017, sections 4.1 and 4.2).

Deviations: on any backbone, whose batch norm learns on unless it is frozen; the dense layers, which in the paper are
VGG-16's, begin afresh; 1,024 numbers, where those have 4,096; anchors that reach beyond the image learn too; an anchor
has one score, where the paper has two; the things themselves are among the proposals that are learned from, as in the
authors' program; 100 results an image at most. Of the pyramid's paper: three maps, not five; 128 channels, not 256; 128
regions an image to learn from and 300 at prediction, not 512 and 1,000.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from striate.blocks.initialisation import init_normal
from striate.blocks.network import Images, Network
from striate.detection.anchors import RATIOS, SIZES, Anchors
from striate.detection.found import Detected
from striate.detection.losses import SampledRegions, rpn_losses, sample_proposals
from striate.detection.proposals import Proposing
from striate.detection.region_detector import PYRAMID, SPREAD, STRIDE, MapDetector, Pool, pool_of
from striate.detection.targets import Truths

PYRAMID_SIZES = (64, 128, 256)  # Square roots of the areas of anchors, one on each map.
BEFORE, AFTER = 2000, 1000  # Proposals of each map before suppression and behind it, to learn from.
BEFORE_TEST, AFTER_TEST = 1000, 300  # The same at prediction.


class Seen(NamedTuple):
    """The maps that are looked at, and what the region proposal network says there.

    Args:
        maps: the finest first.
        scores: of each anchor, of each map.
        offsets: likewise.
        anchors: of all images alike, of each map.
    """

    maps: Sequence[Float[Tensor, "N C _ _"]]
    scores: Sequence[Float[Tensor, "N _"]]
    offsets: Sequence[Float[Tensor, "N _ 4"]]
    anchors: Sequence[Float[Tensor, "_ 4"]]

    @property
    def said(self) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
        """Scores, offsets and anchors."""
        return self.scores, self.offsets, self.anchors


class RPNHead(nn.Module):
    """What says of each anchor whether something is there, and where it is exactly: the same on all maps.

    Args:
        channels: of the maps.
        anchors: at each place.
    """

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.seen = nn.Sequential(conv, nn.ReLU(inplace=True))
        self.score = nn.Conv2d(channels, anchors, 1)
        self.offset = nn.Conv2d(channels, 4 * anchors, 1)
        for layer in (conv, self.score, self.offset):
            init_normal(layer, SPREAD)

    def forward(self, x: Float[Tensor, "N C h w"]) -> tuple[Float[Tensor, "N A"], Float[Tensor, "N A 4"]]:
        """Return scores and offsets of all anchors, in the order of `striate.detection.anchors.spread_anchors`."""
        seen = self.seen(x)
        scores, offsets = (layer(seen).permute(0, 2, 3, 1) for layer in (self.score, self.offset))
        return scores.flatten(1).float(), offsets.reshape(len(x), -1, 4).float()


class FasterRCNN(MapDetector):
    """Proposals and what they are, by one network.

    Args:
        backbone: whose maps are used.
        num_classes: of things; the background comes besides.
        pyramid: whether to look at three maps, made into a pyramid.
        pool: what makes a region 7 x 7: ``max``, the paper's RoI pooling, or ``align``.
        channels: of the pyramid's maps.
        hidden: numbers that a region becomes.
    """

    proposing = ("rpn", "anchors", "proposals_train", "proposals_test")

    def __init__(
        self, backbone: Network, num_classes: int, *, pyramid: bool, pool: Pool, channels: int, hidden: int
    ) -> None:
        super().__init__(backbone, pyramid=pyramid, pool=pool, channels=channels, hidden=hidden)
        sizes: Sequence[Sequence[int]] = [[size] for size in PYRAMID_SIZES] if pyramid else [SIZES]
        self.anchors = Anchors(sizes, PYRAMID if pyramid else (STRIDE,))
        self.rpn = RPNHead(self.channels, len(sizes[0]) * len(RATIOS))
        self.proposals_train = Proposing(BEFORE, AFTER)
        self.proposals_test = Proposing(BEFORE_TEST, AFTER_TEST)
        self.add_heads(num_classes)

    def forward(self, x: Images) -> Detected:
        """Return what is in images of any size, 100 things each at most."""
        seen = self.look(x)
        proposals = self.proposals_test(*seen.said, x.shape[2:])
        return self.add_masks(seen, self.find(seen.maps, proposals, x.shape[2:]))

    def losses(self, images: Images, *truths: Tensor) -> dict[str, Tensor]:
        """Return the four losses of the paper, each the mean over the images.

        ``objectness`` and ``proposal_boxes`` of the anchors (equation 1), ``classes`` and ``boxes`` of the proposals
        (Girshick, "Fast R-CNN", 2015, equation 1).
        """
        truth, seen = Truths(*truths), self.look(images)
        drawn = sample_proposals(self.proposals_train(*seen.said, images.shape[2:]), truth)
        return {
            **rpn_losses(*seen.said, truth),
            **self.compare(seen.maps, drawn, truth),
            **self.mask_losses(seen, drawn, truth),
        }

    def add_masks(self, _seen: Seen, detected: Detected) -> Detected:
        """Return what was found as it is; Mask R-CNN adds masks."""
        return detected

    def mask_losses(self, _seen: Seen, _drawn: SampledRegions, _truth: Truths) -> dict[str, Tensor]:
        """Return none; Mask R-CNN has one."""
        return {}

    def look(self, images: Images) -> Seen:
        """Return maps, and what is said of their anchors."""
        maps = self.maps(images)
        scores, offsets = zip(*(self.rpn(each) for each in maps), strict=True)
        return Seen(maps, scores, offsets, self.anchors(*maps))

    def fit_anchors(self, sides: Float[Tensor, "K 2"]) -> None:
        """Give anchors the sizes of things."""
        self.anchors.fit(sides)


def faster_rcnn(
    backbone: Network,
    *,
    num_classes: int = 20,
    pyramid: bool = False,
    pool: Pool | None = None,
    channels: int = 128,
    hidden: int = 1024,
) -> FasterRCNN:
    """Build the paper's network, or one on a pyramid.

    Args:
        backbone: whose maps are used: that of stride 16 or, for a pyramid, those of strides 8, 16 and 32.
        num_classes: of things; the background comes besides.
        pyramid: whether to look at three maps, made into a pyramid.
        pool: what makes a region 7 x 7: ``max``, the paper's RoI pooling, or ``align``; by default the former, and the
            latter on a pyramid, where it is the only one.
        channels: of the pyramid's maps.
        hidden: numbers that a region becomes.
    """
    return FasterRCNN(
        backbone,
        num_classes,
        pyramid=pyramid,
        pool=pool_of("faster_rcnn", pool, pyramid),
        channels=channels,
        hidden=hidden,
    )
