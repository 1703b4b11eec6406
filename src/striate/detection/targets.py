"""What is there, and what a network is to say of a candidate: by how much its thing's box differs from it."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from striate.boxes import UNWEIGHTED, Weights, encode_boxes


class Truths(NamedTuple):
    """What is in some images, filled up to a fixed number of things; 0 where there is none.

    Args:
        xyxy: boxes in pixels of the images as the network takes them.
        labels: the index of each one's class.
        valid: whether there is a thing that is to be found.
        ignored: whether there is one that need not be found, and is not wrong to find.
        masks: which part of each box is the thing's, 0 none to 255 all of it, at ``s`` x ``s`` places within it.
    """

    xyxy: Float[Tensor, "N M 4"]
    labels: Int64[Tensor, "N M"]
    valid: Bool[Tensor, "N M"]
    ignored: Bool[Tensor, "N M"]
    masks: UInt8[Tensor, "N M s s"] | None = None


def pick(values: Tensor, indices: Int64[Tensor, "N count"]) -> Tensor:
    """Return the rows of each image's values that have these numbers: N x count x what a row has."""
    extra = (1,) * (values.ndim - 2)
    return values.gather(1, indices.view(*indices.shape, *extra).expand(*indices.shape, *values.shape[2:]))


def box_targets(
    candidates: Float[Tensor, "N S 4"],
    boxes: Float[Tensor, "N T 4"],
    matched: Int64[Tensor, "N S"],
    foreground: Bool[Tensor, "N S"],
    weights: Weights = UNWEIGHTED,
) -> Float[Tensor, "N S 4"]:
    """Return the offsets from candidates to the boxes that they are to find; 0 for those that are not foreground.

    Args:
        candidates: of each image, xyxy, with sides larger than 0 where they are foreground.
        boxes: of things.
        matched: number of the box that each candidate is to find.
        foreground: whether it is to find one.
        weights: as for `encode_boxes`.
    """
    # A logarithm of nothing would be infinite, and so its product with 0 no number; a box that fits has offsets of 0.
    unit = candidates.new_tensor([0.0, 0.0, 1.0, 1.0])
    wanted = foreground.unsqueeze(-1)
    return encode_boxes(pick(boxes, matched).where(wanted, unit), candidates.where(wanted, unit), weights)
