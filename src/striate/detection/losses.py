"""What anchors and proposals learn: of each image a fixed number is drawn, some of which are to find a thing."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from striate.boxes import Weights
from striate.detection.matching import ANCHORS, PROPOSALS, Thresholds, lies_in_ignored, match_images
from striate.detection.proposals import Proposals
from striate.detection.sampling import Sample, sample_balanced
from striate.detection.targets import Truths, box_targets, pick

ANCHORS_LEARNED, PROPOSALS_LEARNED = 256, 128  # Of each image.
ANCHORS_ONE_IN, PROPOSALS_ONE_IN = 2, 4  # One of so many is foreground at most.
BEND = 1 / 9  # Where the loss of an anchor's offsets turns from a square into a line; that of a proposal's, at 1.


class SampledRegions(NamedTuple):
    """Boxes that are learned from.

    Args:
        boxes: of each image.
        things: number of the thing that each is to find, among those of its image.
        sample: which of them are foreground, and which are there at all.
    """

    boxes: Float[Tensor, "N S 4"]
    things: Int64[Tensor, "N S"]
    sample: Sample


def rpn_losses(
    scores: Sequence[Float[Tensor, "N _"]],
    offsets: Sequence[Float[Tensor, "N _ 4"]],
    anchors: Sequence[Float[Tensor, "_ 4"]],
    truth: Truths,
) -> dict[str, Tensor]:
    """Return ``objectness`` and ``proposal_boxes`` of the anchors (Ren et al., "Faster R-CNN", 2015, equation 1).

    Both are means over the sampled anchors, where the paper weighs the second by 10 and takes it over all places, which
    is about the same; its smooth L1 turns at 1/9, as in the authors' program.

    Args:
        scores: of each anchor, of each map.
        offsets: likewise.
        anchors: of all images alike.
        truth: what is in the images.
    """
    said, moved, every = torch.cat(list(scores), 1), torch.cat(list(offsets), 1), torch.cat(list(anchors))
    with torch.no_grad():
        drawn = sample_regions(every, truth, ANCHORS, ANCHORS_LEARNED, ANCHORS_ONE_IN)
        sample = drawn.sample
        targets = box_targets(drawn.boxes, truth.xyxy, drawn.things, sample.foreground)
    own = said.gather(1, sample.indices)
    objectness = F.binary_cross_entropy_with_logits(own, sample.foreground.to(own.dtype), reduction="none")
    of_boxes = F.smooth_l1_loss(pick(moved, sample.indices), targets, reduction="none", beta=BEND).sum(2)
    return {
        "objectness": mean_of_images(objectness, sample.valid, sample.valid),
        "proposal_boxes": mean_of_images(of_boxes, sample.foreground, sample.valid),
    }


def region_losses(
    scores: Float[Tensor, "R _"], offsets: Float[Tensor, "R _"], drawn: SampledRegions, truth: Truths, weights: Weights
) -> dict[str, Tensor]:
    """Return ``classes`` and ``boxes`` of the proposals (Girshick, "Fast R-CNN", 2015, equation 1).

    Args:
        scores: logits of the background and of each class, of all images' regions.
        offsets: from each region, for each class.
        drawn: the regions.
        truth: what is in the images.
        weights: of the offsets, as for `striate.boxes.encode_boxes`.
    """
    sample, places = drawn.sample, drawn.sample.valid.shape
    labels = pick(truth.labels, drawn.things)
    every = offsets.float().view(*places, -1, 4)
    own = every.gather(2, labels[:, :, None, None].expand(-1, -1, 1, 4)).squeeze(2)
    targets = box_targets(drawn.boxes, truth.xyxy, drawn.things, sample.foreground, weights)
    of_boxes = F.smooth_l1_loss(own, targets, reduction="none").sum(2)
    return {
        "classes": class_loss(scores, drawn, truth),
        "boxes": mean_of_images(of_boxes, sample.foreground, sample.valid),
    }


def class_loss(scores: Float[Tensor, "R _"], drawn: SampledRegions, truth: Truths) -> Float[Tensor, ""]:
    """Return the mean over images of the cross-entropy of proposals' classes; arguments as for `region_losses`."""
    sample = drawn.sample
    wanted = (pick(truth.labels, drawn.things) + 1).masked_fill(~sample.foreground, 0)
    of_classes = F.cross_entropy(scores.float(), wanted.flatten(), reduction="none").view(wanted.shape)
    return mean_of_images(of_classes, sample.valid, sample.valid)


@torch.no_grad()
def sample_proposals(proposals: Proposals, truth: Truths, count: int | None = None) -> SampledRegions:
    """Return proposals to learn from, among them the things themselves: 128 of each image, or ``count``."""
    boxes = torch.cat([proposals.boxes_xyxy, truth.xyxy], 1)
    there = torch.cat([proposals.valid, truth.valid], 1)
    return sample_regions(boxes, truth, PROPOSALS, count or PROPOSALS_LEARNED, PROPOSALS_ONE_IN, there)


def sample_regions(
    boxes: Float[Tensor, "*images A 4"],
    truth: Truths,
    thresholds: Thresholds,
    count: int,
    one_in: int,
    there: Bool[Tensor, "N A"] | None = None,
) -> SampledRegions:
    """Return boxes to learn from, drawn at random.

    What lies in an ignored thing with half of its area or more is not background.

    Args:
        boxes: of each image, or of all alike.
        truth: what is in the images.
        thresholds: of foreground and background.
        count: boxes of each image, or all if these are fewer.
        one_in: so many is foreground at most.
        there: which boxes there are; None for all.
    """
    found = match_images(boxes, truth.xyxy, truth.valid, thresholds)
    hidden = lies_in_ignored(boxes, truth.xyxy, truth.ignored)
    foreground, background = found.foreground, found.background & ~hidden
    if there is not None:
        foreground, background = foreground & there, background & there
    count = min(count, foreground.shape[1])
    numbers = torch.rand(foreground.shape, device=foreground.device)
    sample = sample_balanced(foreground, background, numbers, count, -(-count // one_in))
    chosen = pick(boxes, sample.indices) if boxes.ndim == 3 else boxes[sample.indices]
    return SampledRegions(chosen, found.boxes.gather(1, sample.indices), sample)


def mean_of_images(
    values: Float[Tensor, "N S"], counted: Bool[Tensor, "N S"], among: Bool[Tensor, "N S"]
) -> Float[Tensor, ""]:
    """Return the mean over images of each one's sum of what counts, by the number of all that could.

    Image by image, so that parts of a batch add up to the whole.
    """
    return ((values * counted).sum(1) / among.sum(1).clamp_min(1)).mean()
