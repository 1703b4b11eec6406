"""From scores and offsets of proposals to what is found: of each class, the surest boxes that are not there already."""

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
        kept = suppress_to(boxes, sure, self.overlap, self.most)
        best = sure.gather(2, kept.indices).where(kept.valid, -torch.inf)
        kept_boxes = boxes.gather(2, kept.indices.unsqueeze(3).expand(-1, -1, -1, 4))
        values, which = best.flatten(1).topk(self.most, 1)
        valid = values > 0
        return Detected(
            pick(kept_boxes.flatten(1, 2), which).masked_fill(~valid.unsqueeze(2), 0),
            values.masked_fill(~valid, 0),
            (which // self.most).masked_fill(~valid, 0),
            valid,
        )
