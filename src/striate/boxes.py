"""Arithmetic of boxes: conversions, overlaps, clipping, and offsets from anchors.

A box is four numbers, in one of three forms:

    xyxy      left, top, right and bottom edge
    xywh      left and top edge, width, height
    cxcywh    centre across and down, width, height

All are in pixels, with 0 at the left or top edge of the first pixel, so that a box around the whole of an image has
the edges 0, 0, width, height, and a width is a difference. What has no form in its name is in xyxy. Each function
works on any number of boxes at once, and can be learned through where its result is continuous.
"""

from math import log

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Boxes = Float[Tensor, "*boxes 4"]
Weights = tuple[float, float, float, float]

UNWEIGHTED: Weights = (1.0, 1.0, 1.0, 1.0)
LARGEST_GROWTH = log(1000 / 16)  # Of a side from its anchor's; the exponential of a larger one would only overflow.


def xyxy_to_xywh(boxes: Boxes) -> Boxes:
    """Return left and top edge, width and height."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack([left, top, right - left, bottom - top], -1)


def xywh_to_xyxy(boxes: Boxes) -> Boxes:
    """Return the four edges."""
    left, top, width, height = boxes.unbind(-1)
    return torch.stack([left, top, left + width, top + height], -1)


def xyxy_to_cxcywh(boxes: Boxes) -> Boxes:
    """Return centre, width and height."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], -1)


def cxcywh_to_xyxy(boxes: Boxes) -> Boxes:
    """Return the four edges."""
    across, down, width, height = boxes.unbind(-1)
    return torch.stack([across - width / 2, down - height / 2, across + width / 2, down + height / 2], -1)


def has_extent(boxes: Boxes) -> Bool[Tensor, "*boxes"]:
    """Tell of which both sides are longer than nothing; what fills up a fixed number of places has none."""
    return (boxes[..., 2:] > boxes[..., :2]).all(-1)


def box_area(boxes: Boxes) -> Float[Tensor, "*boxes"]:
    """Return width · height of each, in square pixels."""
    left, top, right, bottom = boxes.unbind(-1)
    return (right - left) * (bottom - top)


def iou(one: Float[Tensor, "*#boxes 4"], other: Float[Tensor, "*#boxes 4"]) -> Float[Tensor, "..."]:
    """Return the intersection of two boxes as a share of their union; 0 where neither has an area.

    Everingham et al., "The Pascal visual object classes challenge", 2010, equation 3. The two are broadcast.
    """
    shared, union = _shared_and_union(one, other)
    return shared / _positive(union)


def pairwise_iou(ones: Float[Tensor, "N 4"], others: Float[Tensor, "M 4"]) -> Float[Tensor, "N M"]:
    """Return the `iou` of each of ``ones`` with each of ``others``. Some 20 · N · M bytes are alive meanwhile."""
    return iou(ones[:, None], others)


def giou(one: Float[Tensor, "*#boxes 4"], other: Float[Tensor, "*#boxes 4"]) -> Float[Tensor, "..."]:
    """Return the `iou` less the share of the smallest box around both that neither covers: from -1 to 1.

    Unlike the IoU it also says how far apart two boxes are that do not meet, and so can be learned from (Rezatofighi
    et al., "Generalized intersection over union", 2019, algorithm 1). The two are broadcast.
    """
    shared, union = _shared_and_union(one, other)
    low, high = torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:])
    around = _positive((high - low).prod(-1))
    return shared / _positive(union) - (around - union) / around


def share_inside(one: Float[Tensor, "*#boxes 4"], other: Float[Tensor, "*#boxes 4"]) -> Float[Tensor, "..."]:
    """Return which share of the area of ``one`` lies in ``other``; 0 where it has none. The two are broadcast."""
    shared, _ = _shared_and_union(one, other)
    return shared / _positive(box_area(one))


def _shared_and_union(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas. `striate.suppression` computes the same in the same order, so that both round alike."""
    width = (torch.minimum(one[..., 2], other[..., 2]) - torch.maximum(one[..., 0], other[..., 0])).clamp_min(0)
    height = (torch.minimum(one[..., 3], other[..., 3]) - torch.maximum(one[..., 1], other[..., 1])).clamp_min(0)
    shared = width * height
    return shared, box_area(one) + box_area(other) - shared


def _positive(area: Tensor) -> Tensor:
    return area.clamp_min(torch.finfo(torch.float32).tiny)


def clip_boxes(boxes: Float[Tensor, "*images N 4"], sizes: Int64[Tensor, "*images 2"]) -> Float[Tensor, "*images N 4"]:
    """Return what of each box lies in its image; nothing, at its edge, for one that lies outside.

    Args:
        boxes: of each image.
        sizes: (height, width) of each image.
    """
    far = sizes.flip(-1).repeat(*[1] * (sizes.ndim - 1), 2).unsqueeze(-2)  # Width, height, width, height.
    return boxes.clamp_min(0).minimum(far.to(boxes.dtype))


def encode_boxes(
    boxes: Float[Tensor, "*#boxes 4"], anchors: Float[Tensor, "*#boxes 4"], weights: Weights = UNWEIGHTED
) -> Float[Tensor, "..."]:
    """Return by how much boxes differ from anchors: what a network learns to say of an anchor.

    (x - x_a) / w_a and (y - y_a) / h_a of the centres, log(w / w_a) and log(h / h_a) of the sides (Girshick et al.,
    "Rich feature hierarchies", 2014, appendix C; Ren et al., "Faster R-CNN", 2015, equation 2). The two are broadcast.

    Args:
        boxes: whose sides are larger than 0.
        anchors: likewise.
        weights: with which the four numbers are multiplied. Where what they are of is refined once more they are small,
            and are learned better with a variance near 1 (Girshick, "Fast R-CNN", 2015, section 2.3).
    """
    across, down, width, height = xyxy_to_cxcywh(boxes).unbind(-1)
    from_across, from_down, from_width, from_height = xyxy_to_cxcywh(anchors).unbind(-1)
    offsets = (
        (across - from_across) / from_width,
        (down - from_down) / from_height,
        (width / from_width).log(),
        (height / from_height).log(),
    )
    return torch.stack([weight * offset for weight, offset in zip(weights, offsets, strict=True)], -1)


def decode_boxes(
    offsets: Float[Tensor, "*#boxes 4"], anchors: Float[Tensor, "*#boxes 4"], weights: Weights = UNWEIGHTED
) -> Float[Tensor, "..."]:
    """Return the boxes that differ from anchors by so much: the inverse of `encode_boxes`, in the anchors' type.

    A side grows to 62.5 times its anchor's at most.
    """
    across, down, width, height = (
        offset / weight for offset, weight in zip(offsets.to(anchors.dtype).unbind(-1), weights, strict=True)
    )
    from_across, from_down, from_width, from_height = xyxy_to_cxcywh(anchors).unbind(-1)
    decoded = (
        across * from_width + from_across,
        down * from_height + from_down,
        width.clamp_max(LARGEST_GROWTH).exp() * from_width,
        height.clamp_max(LARGEST_GROWTH).exp() * from_height,
    )
    return cxcywh_to_xyxy(torch.stack(decoded, -1))
