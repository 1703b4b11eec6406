"""Which box an anchor or a proposal is to find, if any.

Boxes of an image are filled up to a fixed number, and ``valid`` says which of them are boxes, so that all shapes are
known before it runs.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from striate.boxes import pairwise_iou, share_inside

MOSTLY = 0.5  # Of a box's area: where so much of it is an ignored thing's, it is not background.
NOTHING = -1.0  # The overlap with what is no box: less than any.


class Thresholds(NamedTuple):
    """Which IoU makes foreground and which background; what is between is neither.

    Args:
        foreground: at least so much.
        background: less than so much.
        best_too: whether what overlaps a box most is foreground however little that is.
    """

    foreground: float
    background: float
    best_too: bool


# Of anchors (Ren et al., "Faster R-CNN", 2015, section 3.1.2) and of proposals (Girshick, "Fast R-CNN", 2015, section
# 2.3, with all below a half as background, as later networks have it).
ANCHORS = Thresholds(0.7, 0.3, best_too=True)
PROPOSALS = Thresholds(0.5, 0.5, best_too=False)


class Matches(NamedTuple):
    """What each candidate of an image is to find.

    Args:
        boxes: the box that it overlaps most, the first of equal ones; of no meaning where it is not foreground.
        foreground: whether it is to find that one.
        background: whether it is to find nothing.
    """

    boxes: Int64[Tensor, "*images A"]
    foreground: Bool[Tensor, "*images A"]
    background: Bool[Tensor, "*images A"]


def match(
    candidates: Float[Tensor, "A 4"],
    boxes: Float[Tensor, "T 4"],
    valid: Bool[Tensor, " T"],
    thresholds: Thresholds = ANCHORS,
) -> Matches:
    """Return which box each candidate of one image is to find.

    With ``best_too`` each box has a foreground candidate, and several where they overlap it alike, if any meets it at
    all; that candidate is to find the box that it overlaps most itself, as in the authors' program.

    Args:
        candidates: anchors or proposals, xyxy.
        boxes: of things, xyxy, one or more.
        valid: which of them are boxes.
        thresholds: of the IoU.
    """
    overlaps = pairwise_iou(boxes, candidates).where(valid[:, None], NOTHING)
    most, found = overlaps.max(0)
    foreground, background = most >= thresholds.foreground, most < thresholds.background
    if thresholds.best_too:
        best = overlaps.amax(1, keepdim=True)
        foreground = foreground | ((overlaps == best) & (best > 0)).any(0)
    return Matches(found, foreground, background & ~foreground)


def lies_in_ignored(
    candidates: Float[Tensor, "*#images A 4"], boxes: Float[Tensor, "*#images T 4"], ignored: Bool[Tensor, "*#images T"]
) -> Bool[Tensor, "*images A"]:
    """Return which candidates lie in an ignored box with half of their area or more: these are not background.

    Args:
        candidates: of each image.
        boxes: of each image.
        ignored: which of the boxes are.
    """
    inside = share_inside(candidates.unsqueeze(-2), boxes.unsqueeze(-3)) >= MOSTLY
    return (inside & ignored.unsqueeze(-2)).any(-1)


def match_images(
    candidates: Float[Tensor, "*images A 4"],
    boxes: Float[Tensor, "N T 4"],
    valid: Bool[Tensor, "N T"],
    thresholds: Thresholds = ANCHORS,
) -> Matches:
    """Return what `match` says of each image, one after the other: all pairs of one image are alive at a time.

    Args:
        candidates: of each image, or of all alike.
        boxes: of each image.
        valid: of each image.
        thresholds: of the IoU.
    """
    each = candidates.expand(len(boxes), *candidates.shape[-2:])
    found = [match(*image, thresholds) for image in zip(each, boxes, valid, strict=True)]
    return Matches(*(torch.stack(parts) for parts in zip(*found, strict=True)))
