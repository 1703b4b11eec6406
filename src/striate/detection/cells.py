"""Where a network that looks once looks for things: a few shapes in each cell of some maps; and which finds what.

Redmon and Farhadi, "YOLOv3: an incremental improvement", 2018, section 2.1. What it says of a box is where its middle
lies in the cell, by a sigmoid, and by how much its sides differ from the shape's, by an exponential.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from striate.boxes import LARGEST_GROWTH, cxcywh_to_xyxy, pairwise_iou, xyxy_to_cxcywh
from striate.detection.clusters import shape_iou
from striate.detection.matching import lies_in_ignored
from striate.detection.targets import Truths, pick

OVERLAPS = 0.5  # IoU with a thing above which a box is not background (section 2.1).


class Cells(NamedTuple):
    """The places of some maps where things are looked for, of all images alike.

    Args:
        corners: left and top edge of each one's cell, in pixels.
        steps: side of the cell.
        shapes: width and height of a box there that is as its anchor.
    """

    corners: Float[Tensor, "P 2"]
    steps: Float[Tensor, "P 1"]
    shapes: Float[Tensor, "P 2"]


class Assigned(NamedTuple):
    """Which place is to find each thing.

    Args:
        places: number of the place; of no meaning where none is to.
        learned: whether one is to: where several things fall to one place, the first of them is learned.
    """

    places: Int64[Tensor, "N M"]
    learned: Bool[Tensor, "N M"]


def spread_cells(anchors: Float[Tensor, "L A 2"], sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> Cells:
    """Return the places of some maps, one map after the other, row by row, those of one cell together.

    Args:
        anchors: widths and heights of each map's shapes, in pixels.
        sizes: (rows, columns) of the maps.
        strides: of the maps.
    """
    levels = []
    for own, (rows, columns), stride in zip(anchors.float(), sizes, strides, strict=True):
        down, across = (stride * torch.arange(count, device=own.device).float() for count in (rows, columns))
        y, x = torch.meshgrid(down, across, indexing="ij")
        corners = torch.stack([x, y], -1).view(-1, 1, 2).expand(-1, len(own), -1).reshape(-1, 2)
        steps = torch.full_like(corners[:, :1], stride)
        levels.append((corners, steps, own.repeat(rows * columns, 1)))
    return Cells(*(torch.cat(parts) for parts in zip(*levels, strict=True)))


def decode_cells(said: Float[Tensor, "N P 4"], cells: Cells) -> Float[Tensor, "N P 4"]:
    """Return boxes, xyxy: b_x = σ(t_x) + c_x and b_w = p_w · exp(t_w), in cells; a side grows to 62.5 times at most."""
    middles = cells.corners + cells.steps * said[..., :2].sigmoid()
    sides = cells.shapes * said[..., 2:].clamp_max(LARGEST_GROWTH).exp()
    return cxcywh_to_xyxy(torch.cat([middles, sides], -1))


def encode_cells(xyxy: Float[Tensor, "N M 4"], places: Int64[Tensor, "N M"], cells: Cells) -> Float[Tensor, "N M 4"]:
    """Return what is to be said at some places, σ(t_x), σ(t_y), t_w and t_h: what `decode_cells` makes the boxes of.

    Args:
        xyxy: boxes, with sides larger than 0.
        places: of each, whose cell its middle lies in; where the map ends before it, the nearest.
        cells: all places.
    """
    boxes = xyxy_to_cxcywh(xyxy)
    inside = (boxes[..., :2] - cells.corners[places]) / cells.steps[places]
    return torch.cat([inside.clamp(0, 1), (boxes[..., 2:] / cells.shapes[places]).log()], -1)


def assign(
    truth: Truths, anchors: Float[Tensor, "L A 2"], sizes: Sequence[tuple[int, int]], strides: Sequence[int]
) -> Assigned:
    """Return which place is to find each thing: that of the cell of its middle whose shape is most like its own.

    Args:
        truth: what is in the images.
        anchors: as for `spread_cells`.
        sizes: likewise.
        strides: likewise.
    """
    boxes = xyxy_to_cxcywh(truth.xyxy)
    device, shapes = boxes.device, anchors.shape[1]
    best = shape_iou(boxes[..., 2:], anchors.float().flatten(0, 1)).argmax(-1)
    level = best // shapes
    counts = [rows * columns * shapes for rows, columns in sizes]
    starts = torch.tensor([sum(counts[:place]) for place in range(len(counts))], device=device)
    rows, columns = torch.tensor(list(sizes), device=device)[level].unbind(-1)
    step = torch.tensor(list(strides), device=device)[level]
    column, row = (
        (middle / step).long().clamp_min(0).minimum(count - 1)
        for middle, count in ((boxes[..., 0], columns), (boxes[..., 1], rows))
    )
    places = starts[level] + (row * columns + column) * shapes + best % shapes
    return Assigned(places, is_first(places, truth.valid))


def is_first(numbers: Int64[Tensor, "N M"], valid: Bool[Tensor, "N M"]) -> Bool[Tensor, "N M"]:
    """Return which of some numbers are valid, and come after no valid one that is the same."""
    same = (numbers.unsqueeze(2) == numbers.unsqueeze(1)) & valid.unsqueeze(1)
    return valid & ~same.tril(-1).any(2)


@torch.no_grad()
def background(boxes: Float[Tensor, "N P 4"], truth: Truths, overlaps: float) -> Bool[Tensor, "N P"]:
    """Return which boxes are to be nothing, if they are to find nothing.

    Not so are those that overlap a thing by more than a threshold, and those of which half or more lies in an ignored
    thing. One image after the other, so that all pairs of one are alive at a time.

    Args:
        boxes: as the network says them.
        truth: what is in the images.
        overlaps: IoU up to which a box is background; 1 or more for whatever it overlaps.
    """
    found = []
    for own, xyxy, valid, ignored in zip(boxes, truth.xyxy, truth.valid, truth.ignored, strict=True):
        near = ((pairwise_iou(own, xyxy) > overlaps) & valid).any(1)
        found.append(~(near | lies_in_ignored(own, xyxy, ignored)))
    return torch.stack(found)


def taken(assigned: Assigned, count: int) -> Bool[Tensor, "N P"]:
    """Return which of ``count`` places are to find a thing."""
    blank = torch.zeros(len(assigned.places), count, device=assigned.places.device)
    return blank.scatter_add(1, assigned.places, assigned.learned.float()) > 0


def at_things(values: Float[Tensor, "N P C"], assigned: Assigned) -> Float[Tensor, "N M C"]:
    """Return what is said at the place that is to find each thing."""
    picked: Float[Tensor, "N M C"] = pick(values, assigned.places)
    return picked
