"""Fast R-CNN: the layers of the whole image are run once, and proposals are looked up on the map that they make.

Girshick, "Fast R-CNN", 2015. What it brought: R-CNN runs its network on the pixels of each of 2,000 proposals, most of
which it sees again and again, and learns its parts one after the other. Here a region of the map is made 7 x 7 whatever
its size (RoI pooling, section 2.1), so that one pass is enough, and one loss of two parts teaches all layers together:
which class a region is, and by how much the box of that class is off (section 2.3). What is left to wait for are the
proposals, which come from another program. On an image of H x W, with K classes:

    step                      gives
    backbone                  C x H/16 x W/16
    RoI pooling               C x 7 x 7 of each of 2,000 proposals; to learn from, of 128, a quarter of them on things
    two dense layers, ReLU    1,024 numbers
    two dense layers          K + 1 scores, and 4 offsets for each of K classes
    for each class, the best, suppressed

Deviations: on any backbone, whose batch norm learns on unless it is frozen; the dense layers, which in the paper are
VGG-16's, begin afresh; 1,024 numbers, where those have 4,096; 128 regions of each image, not of two; all that overlaps
things by less than a half is background, where the paper wants a tenth at least; the things themselves are among the
proposals that are learned from, as in the author's program; 100 results an image at most.
"""

from jaxtyping import Float
from torch import Tensor

from striate.blocks.network import Images, Network
from striate.detection.found import Detected
from striate.detection.losses import sample_proposals
from striate.detection.proposals import ProposalSearch, given, make_search
from striate.detection.region_detector import MapDetector, Pool, pool_of
from striate.detection.targets import Truths


class FastRCNN(MapDetector):
    """What proposals are that another program makes, in one pass.

    Args:
        backbone: whose maps are used.
        num_classes: of things; the background comes besides.
        search: where proposals come from.
        pyramid: whether to look at three maps, made into a pyramid.
        pool: what makes a region 7 x 7: ``max``, the paper's RoI pooling, or ``align``.
        channels: of the pyramid's maps.
        hidden: numbers that a region becomes.
    """

    def __init__(
        self,
        backbone: Network,
        num_classes: int,
        search: ProposalSearch,
        *,
        pyramid: bool,
        pool: Pool,
        channels: int,
        hidden: int,
    ) -> None:
        super().__init__(backbone, pyramid=pyramid, pool=pool, channels=channels, hidden=hidden)
        self.search = search
        self.add_heads(num_classes)

    def forward(self, x: Images, proposals: Float[Tensor, "N P 4"]) -> Detected:
        """Return what is in images of any size where something may be, 100 things each at most."""
        return self.find(self.maps(x), given(proposals), x.shape[2:])

    def losses(self, images: Images, *shown: Tensor) -> dict[str, Tensor]:
        """Return ``classes`` and ``boxes``, the two parts of equation 1, each the mean over the images."""
        proposals, truth = given(shown[0]), Truths(*shown[1:])
        return self.compare(self.maps(images), sample_proposals(proposals, truth), truth)


def fast_rcnn(
    backbone: Network,
    *,
    num_classes: int = 20,
    proposals: int = 2000,
    search: str = "fast",
    pyramid: bool = False,
    pool: Pool | None = None,
    channels: int = 128,
    hidden: int = 1024,
) -> FastRCNN:
    """Build the paper's network, or one on a pyramid.

    Args:
        backbone: whose maps are used: that of stride 16 or, for a pyramid, those of strides 8, 16 and 32.
        num_classes: of things; the background comes besides.
        proposals: that are looked at in each image, of those of selective search the best.
        search: of selective search, how thorough: ``fast`` or ``quality``.
        pyramid: whether to look at three maps, made into a pyramid.
        pool: what makes a region 7 x 7: ``max``, the paper's RoI pooling, or ``align``; by default the former, and the
            latter on a pyramid, where it is the only one.
        channels: of the pyramid's maps.
        hidden: numbers that a region becomes.
    """
    return FastRCNN(
        backbone,
        num_classes,
        make_search("fast_rcnn", search, proposals),
        pyramid=pyramid,
        pool=pool_of("fast_rcnn", pool, pyramid),
        channels=channels,
        hidden=hidden,
    )
