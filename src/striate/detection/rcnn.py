"""R-CNN: a network for whole images, run on the pixels of each proposal.

Girshick, Donahue, Darrell and Malik, "Rich feature hierarchies for accurate object detection and semantic
segmentation", 2014. What it brought: what a network has learned of a million images tells things apart in boxes, too,
and few boxes teach it; average precision on Pascal VOC rose by half. On an image of H x W, with K classes:

    step                                     gives
    selective search                         2,000 proposals
    each cut out, with context, and warped   3 x 224 x 224
    backbone                                 C x 7 x 7
    mean of 3 x 3 parts                      C x 3 x 3
    dense layer, ReLU                        1,024 numbers
    a linear SVM for each class              K scores
    a linear regression for each class       4 offsets
    for each class, the best, suppressed

It learns in stages (sections 2.3 and 3.5, appendices A to C). First the network, by cross-entropy of the class that
each proposal overlaps by a half or more, or the background: `RCNN.losses`. Then, of what the dense layer gives for all
proposals, an SVM for each class, with negatives that are hard, and a ridge regression from proposals to the boxes of
things: `striate.jobs.stages`.

Deviations: on any backbone; crops of 224 pixels, where the paper has 227, sampled bilinearly; the dense layer begins
afresh and has 1,024 numbers, where the paper's two have 4,096; it is also what boxes are regressed from, where the
paper takes the map before it; the score of what is found is the logistic function of the SVM's margin, and what lies
beyond the margin of a negative is nothing; 100 results an image at most.
"""

from typing import Literal, TypeVar, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.network import Images, Network
from striate.detection.found import Detected
from striate.detection.losses import class_loss, sample_proposals
from striate.detection.postprocess import PostProcess
from striate.detection.proposals import ProposalSearch, given, make_search
from striate.detection.region_detector import MOST, OVERLAP, WEIGHTS, RegionDetector
from striate.detection.targets import Truths
from striate.errors import UsageError

CONTEXT = 16 / 227  # Of a crop's side, on each of its sides: what is around the proposal.
PARTS = 3  # Of a crop's map, across and down.
LEARNED = 32  # Proposals of each image: in a batch of four as many as the paper's 128, a quarter of them on things.
AT_ONCE = 100  # Crops.
LEAST_MARGIN = 0.2689  # The logistic function of -1, where a negative's margin lies.

Head = Literal["svm", "softmax"]
Layer = TypeVar("Layer", bound=nn.Module)


class RCNN(RegionDetector):
    """What proposals are that another program makes, each looked at by itself.

    Args:
        backbone: that is run on each.
        num_classes: of things; the background comes besides.
        search: where proposals come from.
        side: pixels of a crop, across and down.
        hidden: numbers that a crop becomes.
        head: what tells classes apart: ``svm``, or the ``softmax`` that the network has learned with.
    """

    unlearned = ("offset",)

    def __init__(
        self, backbone: Network, num_classes: int, search: ProposalSearch, *, side: int, hidden: int, head: Head
    ) -> None:
        super().__init__(backbone, (backbone.feature_info[-1].stride,))
        self.search, self.side, self.head = search, side, head
        self.box_head = nn.Sequential(
            nn.AdaptiveAvgPool2d(PARTS),
            nn.Flatten(),
            nn.Linear(self.infos[0].channels * PARTS**2, hidden),
            nn.ReLU(inplace=True),
        )
        self.add_outputs(num_classes, hidden)
        self.offset = _unlearned(self.offset)
        if head == "svm":
            self.postprocess = PostProcess(WEIGHTS, LEAST_MARGIN, OVERLAP, MOST)

    def forward(self, x: Images, proposals: Float[Tensor, "N P 4"]) -> Detected:
        """Return what is in images of any size where something may be, 100 things each at most."""
        found = given(proposals)
        hidden = self.look_in_parts(x, proposals).flatten(0, 1)
        return self.decide(self.score(hidden), self.offset(hidden), found, x.shape[2:])

    def losses(self, images: Images, *shown: Tensor) -> dict[str, Tensor]:
        """Return ``classes``: the cross-entropy of what proposals are, the mean over the images."""
        proposals, truth = given(shown[0]), Truths(*shown[1:])
        drawn = sample_proposals(proposals, truth, LEARNED)
        return {"classes": class_loss(self.score(self.look(images, drawn.boxes).flatten(0, 1)), drawn, truth)}

    def look(self, images: Images, boxes: Float[Tensor, "N P 4"]) -> Float[Tensor, "N P hidden"]:
        """Return what classes are told by, and boxes regressed from, of each box."""
        hidden: Tensor = self.box_head(self.features(warp(images, boxes, self.side)))
        return hidden.view(*boxes.shape[:2], -1)

    def look_in_parts(self, images: Images, boxes: Float[Tensor, "N P 4"]) -> Float[Tensor, "N P hidden"]:
        """Return what `look` does, of so many boxes at once that their crops take little memory."""
        parts = torch.split(boxes, max(AT_ONCE // len(images), 1), 1)
        return torch.cat([self.look(images, each) for each in parts], 1)

    def shares(self, scores: Float[Tensor, "R _"]) -> Float[Tensor, "R _"]:
        """Return how sure each class is; by SVMs, whose margin of the background is 0, each by itself."""
        return super().shares(scores) if self.head == "softmax" else (scores[:, 1:] - scores[:, :1]).sigmoid()

    def fresh(self, layer: nn.Module, num_classes: int) -> nn.Module:
        """Return a layer like one of the output layers, for so many classes."""
        made = super().fresh(layer, num_classes)
        return made if layer is self.score else _unlearned(made)


def _unlearned(layer: Layer) -> Layer:
    """Return what moves boxes such that it moves none, until it is fitted: it learns by no gradient."""
    for parameter in layer.requires_grad_(False).parameters():
        nn.init.zeros_(parameter)
    return layer


@torch.no_grad()
def warp(images: Images, boxes: Float[Tensor, "N P 4"], side: int) -> Float[Tensor, "crops C side side"]:
    """Return what is in boxes, each stretched to a square, with a frame of what is around it (appendix A).

    What lies beyond the image is 0: the mean, of images as networks take them.

    Args:
        images: of any size.
        boxes: xyxy, of each image.
        side: of a crop in pixels.
    """
    count = boxes.shape[1]
    height, width = images.shape[2:]
    sizes = boxes.new_tensor([width, height])
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2 / sizes
    extents = (boxes[..., 2:] - boxes[..., :2]) / (1 - 2 * CONTEXT) / sizes
    steps = (torch.arange(side, device=boxes.device) + 0.5) / side - 0.5
    # Of each box the places of its columns and of its rows, from -1 at one edge of the image to 1 at the other.
    across, down = ((middles[..., None] + extents[..., None] * steps) * 2 - 1).unbind(2)
    shape = (len(boxes), count, side, side)
    grid = torch.stack([across.unsqueeze(2).expand(shape), down.unsqueeze(3).expand(shape)], -1).flatten(1, 2)
    crops = F.grid_sample(images.float(), grid, align_corners=False)
    rows = crops.to(images.dtype).view(len(boxes), -1, count, side, side).permute(0, 2, 3, 4, 1).flatten(0, 1)
    return rows.permute(0, 3, 1, 2)


def rcnn(
    backbone: Network,
    *,
    num_classes: int = 20,
    proposals: int = 2000,
    search: str = "fast",
    side: int = 224,
    hidden: int = 1024,
    head: str = "svm",
) -> RCNN:
    """Build the paper's network.

    Args:
        backbone: that is run on each proposal.
        num_classes: of things; the background comes besides.
        proposals: that are looked at in each image, of those of selective search the best.
        search: of selective search, how thorough: ``fast`` or ``quality``.
        side: pixels of a crop, across and down.
        hidden: numbers that a crop becomes.
        head: what tells classes apart: ``svm``, or the ``softmax`` that the network has learned with.
    """
    if head not in get_args(Head) or side < 1:
        raise UsageError(
            expected=f"head of rcnn as {' or '.join(get_args(Head))}, and a side of one pixel or more",
            received=f"head={head}, side={side}",
            remedy="Leave both out for the usual ones.",
        )
    made = make_search("rcnn", search, proposals)
    return RCNN(backbone, num_classes, made, side=side, hidden=hidden, head=cast(Head, head))
