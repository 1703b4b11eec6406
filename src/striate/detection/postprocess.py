"""From what a network says of boxes to what is found: of each class, the surest boxes that are not there already."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.boxes import Weights, clip_boxes, decode_boxes
from striate.detection.found import Detected
from striate.detection.proposals import Proposals, sizes_of
from striate.detection.targets import pick
from striate.suppression import suppress_to

SMALLEST = 1e-3  # Side in pixels of what is left of a box within its image.
CANDIDATES = 1000  # Boxes of an image that are left before suppression, where all have scores of all classes.


class PostProcess(nn.Module):
    """The results of each image, a fixed number.

    Args:
        weights: of the offsets, as for `striate.boxes.decode_boxes`.
        least: score; what is less sure is nothing.
        overlap: IoU up to which two boxes of one class may both stay.
        most: places.
    """

    def __init__(self, weights: Weights, least: float, overlap: float, most: int) -> None:
        super().__init__()
        self.weights, self.least, self.overlap, self.most = weights, least, overlap, most

    def forward(
        self,
        shares: Float[Tensor, "R _"],
        offsets: Float[Tensor, "R _"],
        proposals: Proposals,
        image_size: Sequence[int],
    ) -> Detected:
        """Return what is found.

        Args:
            shares: how sure each class is, from 0 to 1, of all images' proposals.
            offsets: from each proposal, for each class.
            proposals: of each image.
            image_size: (height, width) of all images.
        """
        places = proposals.valid.shape
        moved = decode_boxes(offsets.float().view(*places, -1, 4), proposals.boxes_xyxy.unsqueeze(2), self.weights)
        boxes = moved.transpose(1, 2)
        sizes = sizes_of(boxes, image_size)
        boxes = clip_boxes(boxes, sizes.unsqueeze(1).expand(-1, boxes.shape[1], -1))
        is_there = (boxes[..., 2:] - boxes[..., :2] >= SMALLEST).all(-1) & proposals.valid.unsqueeze(1)
        sure = shares.view(*places, -1).transpose(1, 2)
        sure = sure.where((sure > self.least) & is_there, -torch.inf)
        return surest(boxes, sure, self.overlap, self.most)


class PostProcessBoxes(nn.Module):
    """The results where a network says boxes, and of each how sure it is of every class.

    Args:
        least: score; what is less sure is nothing.
        overlap: IoU up to which two boxes of one class may both stay.
        most: places.
    """

    def __init__(self, least: float, overlap: float, most: int) -> None:
        super().__init__()
        self.least, self.overlap, self.most = least, overlap, most

    def forward(
        self, boxes: Float[Tensor, "N P 4"], scores: Float[Tensor, "N P K"], image_size: Sequence[int]
    ) -> Detected:
        """Return what is found, among the 1,000 boxes that are surest of some class.

        Args:
            boxes: of each image, xyxy.
            scores: of each box, for each class.
            image_size: (height, width) of all images.
        """
        best = scores.amax(2).topk(min(CANDIDATES, scores.shape[1]), 1).indices
        own = clip_boxes(pick(boxes, best), sizes_of(boxes, image_size))
        sure = pick(scores, best).transpose(1, 2)
        is_there = (own[..., 2:] - own[..., :2] >= SMALLEST).all(-1).unsqueeze(1)
        sure = sure.where((sure > self.least) & is_there, -torch.inf)
        each = own.unsqueeze(1).expand(-1, sure.shape[1], -1, -1).contiguous()
        return surest(each, sure, self.overlap, self.most)


def surest(boxes: Float[Tensor, "N K P 4"], scores: Float[Tensor, "N K P"], overlap: float, most: int) -> Detected:
    """Return the best boxes of all classes, without those that overlap a better one of their class.

    Args:
        boxes: of each class.
        scores: of each, above 0; -∞ for what is no box.
        overlap: IoU up to which two boxes of one class may both stay.
        most: places.
    """
    kept = suppress_to(boxes, scores, overlap, most)
    best = scores.gather(2, kept.indices).where(kept.valid, -torch.inf)
    kept_boxes = boxes.gather(2, kept.indices.unsqueeze(3).expand(-1, -1, -1, 4))
    values, which = best.flatten(1).topk(most, 1)
    valid = values > 0
    return Detected(
        pick(kept_boxes.flatten(1, 2), which).masked_fill(~valid.unsqueeze(2), 0),
        values.masked_fill(~valid, 0),
        (which // most).masked_fill(~valid, 0),
        valid,
    )
