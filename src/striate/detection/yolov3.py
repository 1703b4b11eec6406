"""YOLOv3: boxes and classes said once for all places of three maps, without proposals.

Redmon and Farhadi, "YOLOv3: an incremental improvement", 2018. What it brought to detectors that look once: maps of
three strides, so that small things are found on a fine one, each with what the coarser say enlarged and put beside it;
nine anchors, which are clusters of the training set's shapes, three on each map; and logistic classes, which need not
exclude each other. On an image of H x W, with K classes, from the coarsest map to the finest:

    step                                                       gives
    backbone                                                   maps of 1/32, 1/16, 1/8
    1 x 1 convolution of what is said below, enlarged,
    put beside the map of this size (not on the coarsest)
    five convolutions, 1 x 1 and 3 x 3 in turn                 4 C x H/32 x W/32, 2 C x H/16 x W/16, C x H/8 x W/8
    3 x 3 convolution                                          twice as many
    1 x 1 convolution                                          3 · (5 + K): of each anchor where its box is, whether
                                                               something is there, and what
    for each class, the best, suppressed

Batch norm and leaky ReLU follow all convolutions but the last. A thing is learned by one anchor of the nine, the one
most like it in shape, in the cell of its middle; boxes of others that overlap it by more than one half are neither
right nor wrong, and all else is to say that nothing is there (section 2.1).

Deviations: on any backbone, where the paper has its Darknet-53; C is 64, where it has 128. As in the authors' program,
the boxes that are said tell what overlaps a thing, not their anchors, and the losses of sides and middles weigh 2 less
the thing's share of the image. It begins with a confidence of 0.01 everywhere, so that the many places where nothing is
do not drown the others at first (Lin et al., "Focal loss for dense object detection", 2017, section 4.1). Of two things
that fall to the same anchor of the same cell the first is learned. 100 results an image at most.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from math import log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.convolution import convolution
from striate.blocks.initialisation import init_normal, initialise
from striate.blocks.network import Images, Network
from striate.boxes import box_area
from striate.detection.cells import (
    OVERLAPS,
    Cells,
    assign,
    at_things,
    background,
    decode_cells,
    encode_cells,
    spread_cells,
    taken,
)
from striate.detection.clusters import cluster_sides
from striate.detection.detector import Detector
from striate.detection.found import Detected
from striate.detection.postprocess import PostProcessBoxes
from striate.detection.targets import Truths
from striate.detection.yolo import LEAKY, LEAST_SCORE, MOST, OVERLAP

STRIDES = (8, 16, 32)
# The paper's, of COCO at 416 x 416: widths and heights, three on each map (section 2.3).
ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
EACH = len(ANCHORS[0])
SAID = 5  # Numbers of a place besides its classes: the box, and whether something is there.
SPREAD, RARE = 0.01, 0.01  # To begin with: of the last layers' weights, and how sure they are that something is there.

leaky = partial(convolution, activation=LEAKY)


class Said(NamedTuple):
    """What is said of all places of the three maps.

    Args:
        numbers: of the box, whether something is there, and of each class, as logits.
        cells: the places.
        sizes: (rows, columns) of the maps, the finest first.
    """

    numbers: Float[Tensor, "N P C"]
    cells: Cells
    sizes: Sequence[tuple[int, int]]


class Level(nn.Module):
    """What is made of one map, and of what was made of the coarser one.

    Args:
        in_chans: of the map.
        below: channels of what was made of the coarser one; 0 where there is none.
        width: channels that come out.
    """

    def __init__(self, in_chans: int, below: int, width: int) -> None:
        super().__init__()
        self.narrow = leaky(below, width, 1) if below else None
        coming = in_chans + (width if below else 0)
        layers = OrderedDict[str, nn.Module](first=leaky(coming, width, 1))
        for name in ("second", "third"):
            layers[f"{name}_wide"] = leaky(width, 2 * width, 3)
            layers[name] = leaky(2 * width, width, 1)
        self.mix = nn.Sequential(layers)

    def forward(self, own: Tensor, below: Tensor | None) -> Tensor:
        """Return what the last layers of this map see, and the finer level."""
        if self.narrow is not None:
            assert below is not None
            own = torch.cat([F.interpolate(self.narrow(below), own.shape[-2:], mode="nearest"), own], 1)
        made: Tensor = self.mix(own)
        return made


class YOLOv3(Detector):
    """Three maps, nine anchors.

    Args:
        backbone: with maps of strides 8, 16 and 32.
        num_classes: of things.
        channels: made of the finest map; of the others twice and four times as many.
    """

    anchors: Tensor

    def __init__(self, backbone: Network, num_classes: int, channels: int) -> None:
        super().__init__(backbone, STRIDES)
        widths = [channels * stride // STRIDES[0] for stride in STRIDES]
        below = [*widths[1:], 0]
        self.levels = nn.ModuleList(
            Level(info.channels, *sizes) for info, *sizes in zip(self.infos, below, widths, strict=True)
        )
        self.wide = nn.ModuleList(leaky(width, 2 * width, 3) for width in widths)
        for part in (self.levels, self.wide):
            initialise(part, "he")
        self.said = nn.ModuleList(_last(nn.Conv2d(2 * width, EACH * (SAID + num_classes), 1)) for width in widths)
        self.register_buffer("anchors", torch.tensor(ANCHORS, dtype=torch.float32))
        self.postprocess = PostProcessBoxes(LEAST_SCORE, OVERLAP, MOST)

    def forward(self, x: Images) -> Detected:
        """Return what is in images of any size, 100 things each at most."""
        said = self.look(x)
        boxes = decode_cells(said.numbers[..., :4], said.cells)
        scores = said.numbers[..., 4:5].sigmoid() * said.numbers[..., SAID:].sigmoid()
        found: Detected = self.postprocess(boxes, scores, x.shape[2:])
        return found

    def losses(self, images: Images, *truths: Tensor) -> dict[str, Tensor]:
        """Return four losses, each summed over an image's places, the mean over the images.

        ``middles`` and ``sides`` of the boxes, ``objectness`` of all places and ``classes`` (section 2.1 and 2.2).
        """
        said, image = self.look(images), images.shape[2] * images.shape[3]
        return cell_losses(said, self.anchors.float(), image, Truths(*truths))

    def look(self, x: Images) -> Said:
        """Return what is said of all places."""
        outputs = self.feature_maps(x)
        maps = [outputs[info.name] for info in self.infos]
        numbers: list[Tensor] = []
        below: Tensor | None = None
        for own, level, wide, last in reversed(list(zip(maps, self.levels, self.wide, self.said, strict=True))):
            below = level(own, below)
            each: Tensor = last(wide(below))
            numbers.append(each.permute(0, 2, 3, 1).reshape(len(x), -1, each.shape[1] // EACH).float())
        sizes = [(each.shape[2], each.shape[3]) for each in maps]
        return Said(torch.cat(numbers[::-1], 1), spread_cells(self.anchors, sizes, STRIDES), sizes)

    @torch.no_grad()
    def fit_anchors(self, sides: Float[Tensor, "K 2"]) -> None:
        """Give anchors the shapes around which those of things lie, the smallest on the finest map."""
        shapes = cluster_sides(sides, len(STRIDES) * EACH)
        self.anchors.copy_(shapes.view(self.anchors.shape))

    @property
    def num_classes(self) -> int:
        """Classes of things."""
        return super().num_classes // EACH - SAID

    def output_layers(self) -> list[str]:
        """Return the last layer on each map."""
        return [f"said.{place}" for place in range(len(STRIDES))]

    def fresh(self, layer: nn.Module, num_classes: int) -> nn.Module:
        """Return a layer like one of these, for so many classes."""
        return _last(super().fresh(layer, EACH * (SAID + num_classes)))


def _last(layer: nn.Module) -> nn.Module:
    """Have a layer begin by saying that all boxes are as their anchors, and that hardly anything is there."""
    init_normal(layer, SPREAD)
    assert isinstance(layer.bias, Tensor)
    with torch.no_grad():
        layer.bias.view(EACH, -1)[:, 4] = log(RARE / (1 - RARE))
    return layer


def cell_losses(said: Said, anchors: Float[Tensor, "L A 2"], image: int, truth: Truths) -> dict[str, Tensor]:
    """Return ``middles``, ``sides``, ``objectness`` and ``classes``, the means over images.

    The paper's gradient of a middle is the truth less what is said, behind the sigmoid: that of a cross-entropy.

    Args:
        said: of all places.
        anchors: of the three maps.
        image: its pixels.
        truth: what is in the images.
    """
    numbers, assigned = said.numbers, assign(truth, anchors, said.sizes, STRIDES)
    learned = assigned.learned.unsqueeze(2)
    with torch.no_grad():
        nothing = background(decode_cells(numbers[..., :4], said.cells), truth, OVERLAPS)
        is_there = taken(assigned, numbers.shape[1])
        # Where there is no thing, any box with sides will do: a logarithm of nothing times 0 would be no number.
        boxes = truth.xyxy.where(learned, truth.xyxy.new_tensor([0.0, 0.0, 1.0, 1.0]))
        wanted = encode_cells(boxes, assigned.places, said.cells)
        weight = (2 - box_area(boxes) / image).unsqueeze(2)
        kinds = (truth.labels.unsqueeze(2) == torch.arange(numbers.shape[2] - SAID, device=numbers.device)).float()
    own = at_things(numbers, assigned)
    of_middles = F.binary_cross_entropy_with_logits(own[..., :2], wanted[..., :2], reduction="none")
    of_sides = (own[..., 2:4] - wanted[..., 2:]).square() / 2
    of_places = F.binary_cross_entropy_with_logits(numbers[..., 4], is_there.float(), reduction="none")
    of_classes = F.binary_cross_entropy_with_logits(own[..., SAID:], kinds, reduction="none")
    return {
        "middles": (weight * of_middles * learned).sum((1, 2)).mean(),
        "sides": (weight * of_sides * learned).sum((1, 2)).mean(),
        "objectness": (of_places * (is_there | nothing)).sum(1).mean(),
        "classes": (of_classes * learned).sum((1, 2)).mean(),
    }


def yolov3(backbone: Network, *, num_classes: int = 20, channels: int = 64) -> YOLOv3:
    """Build the paper's network.

    Args:
        backbone: with maps of strides 8, 16 and 32.
        num_classes: of things.
        channels: made of the finest map; of the others twice and four times as many.
    """
    return YOLOv3(backbone, num_classes, channels)
