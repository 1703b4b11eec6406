"""What the R-CNN line has in common: of each proposal, wherever it is from, which class it is and where it is exactly.

    step                      gives
    features of a proposal    a row of numbers
    two dense layers          K + 1 scores, and 4 offsets for each of K classes
    for each class, the best, suppressed

R-CNN runs a network on the pixels of each proposal; from Fast R-CNN on, proposals are looked up on the maps of the
whole image, which are made once:

    backbone                  C x H/16 x W/16
    RoI pooling or align      C x 7 x 7 of each proposal
    two dense layers, ReLU    1,024 numbers
"""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from striate.blocks.initialisation import init_normal
from striate.blocks.network import Images, Network
from striate.blocks.regions import Regions
from striate.boxes import Weights
from striate.detection.detector import Detector
from striate.detection.found import Detected
from striate.detection.losses import SampledRegions, region_losses
from striate.detection.postprocess import PostProcess
from striate.detection.proposals import Proposals
from striate.detection.pyramid import FeaturePyramid
from striate.detection.targets import Truths
from striate.errors import UsageError

STRIDE, PYRAMID = 16, (8, 16, 32)
SIDE = 7  # Parts of a region, across and down.
WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)  # Of a proposal's offsets, whose deviations are about 0.1 and 0.2.
SPREAD, NARROW = 0.01, 0.001  # Of the weights of new layers, to begin with; the narrow ones say no class.
LEAST_SCORE, OVERLAP, MOST = 0.05, 0.5, 100  # Of what is said to be found: score, IoU, number.

Pool = Literal["max", "align"]


class RegionDetector(Detector):
    """A class, and a box for each class, of each proposal."""

    def add_outputs(self, num_classes: int, hidden: int) -> None:
        """Make the layers that give scores and offsets: behind all others, as rates by depth have it.

        Args:
            num_classes: of things; the background comes besides.
            hidden: numbers that a proposal becomes.
        """
        self.score, self.offset = nn.Linear(hidden, num_classes + 1), nn.Linear(hidden, 4 * num_classes)
        self.postprocess = PostProcess(WEIGHTS, LEAST_SCORE, OVERLAP, MOST)
        init_normal(self.score, SPREAD)
        init_normal(self.offset, NARROW)

    def decide(
        self,
        scores: Float[Tensor, "R _"],
        offsets: Float[Tensor, "R _"],
        proposals: Proposals,
        image_size: Sequence[int],
    ) -> Detected:
        """Return what is found, by logits of the background and of each class, and offsets, of each proposal."""
        found: Detected = self.postprocess(self.shares(scores.float()), offsets, proposals, image_size)
        return found

    def shares(self, scores: Float[Tensor, "R _"]) -> Float[Tensor, "R _"]:
        """Return how sure each class is, from 0 to 1, the background left out."""
        return scores.softmax(1)[:, 1:]

    @property
    def num_classes(self) -> int:
        """Classes of things."""
        return self.score.out_features - 1

    def output_layers(self) -> list[str]:
        """Return the layers that tell classes apart, and those that move a box for each."""
        return ["score", "offset"]

    def fresh(self, layer: nn.Module, num_classes: int) -> nn.Module:
        """Return a layer like one of these, for so many classes."""
        is_score = layer is self.score
        made = super().fresh(layer, num_classes + 1 if is_score else 4 * num_classes)
        init_normal(made, SPREAD if is_score else NARROW)
        return made


class MapDetector(RegionDetector):
    """The same, of proposals that are looked up on maps of the whole image.

    Args:
        backbone: whose maps are used.
        pyramid: whether to look at three maps, made into a pyramid.
        pool: what makes a region 7 x 7: ``max``, the paper's RoI pooling, or ``align``.
        channels: of the pyramid's maps.
        hidden: numbers that a region becomes.
    """

    def __init__(self, backbone: Network, *, pyramid: bool, pool: Pool, channels: int, hidden: int) -> None:
        strides = PYRAMID if pyramid else (STRIDE,)
        super().__init__(backbone, strides)
        own = [info.channels for info in self.infos]
        self.channels = channels if pyramid else own[0]
        self.pyramid = FeaturePyramid(own, channels) if pyramid else None
        self.regions = Regions(strides, pool)
        self.hidden = hidden

    def add_heads(self, num_classes: int) -> None:
        """Make the dense layers, behind what makes proposals if that is part of the network."""
        self.box_head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.channels * SIDE**2, self.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(inplace=True),
        )
        self.add_outputs(num_classes, self.hidden)

    def maps(self, images: Images) -> Sequence[Float[Tensor, "N _ _ _"]]:
        """Return the maps that proposals are looked up on, the finest first."""
        named = self.feature_maps(images)
        maps = [named[info.name] for info in self.infos]
        return maps if self.pyramid is None else self.pyramid(maps)

    def find(self, maps: Sequence[Tensor], proposals: Proposals, image_size: Sequence[int]) -> Detected:
        """Return what is found where something may be."""
        return self.decide(*self._judge(maps, proposals.boxes_xyxy), proposals, image_size)

    def compare(self, maps: Sequence[Tensor], drawn: SampledRegions, truth: Truths) -> dict[str, Tensor]:
        """Return ``classes`` and ``boxes``, the losses of what is said of some regions."""
        return region_losses(*self._judge(maps, drawn.boxes), drawn, truth, WEIGHTS)

    def _judge(self, maps: Sequence[Tensor], boxes: Float[Tensor, "N P 4"]) -> tuple[Tensor, Tensor]:
        """Return scores of all classes, the background's first, and offsets for each class, of all boxes in a row."""
        hidden = self.box_head(self.regions(maps, boxes, SIDE))
        return self.score(hidden), self.offset(hidden)


def pool_of(name: str, pool: Pool | None, pyramid: bool) -> Pool:
    """Return what makes a region 7 x 7: RoI pooling unless something else is asked for, or RoI align on a pyramid.

    Raises:
        UsageError: where it is neither, or the former on a pyramid.
    """
    chosen: Pool = pool or ("align" if pyramid else "max")
    if chosen not in ("max", "align") or (pyramid and chosen == "max"):
        raise UsageError(
            expected=f"pool of {name} as align, or without a pyramid as max",
            received=f"pool={pool}, pyramid={pyramid}",
            remedy="Leave pool out for the usual one.",
        )
    return chosen
