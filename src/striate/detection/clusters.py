"""Shapes that stand for those of many things: anchors as the things themselves have them, not as somebody guessed.

Redmon and Farhadi, "YOLO9000: better, faster, stronger", 2017, section 2, "dimension clusters".
"""

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDS = 100  # At most; means of shapes need not come to rest under this distance, though they do as a rule.


def shape_iou(ones: Float[Tensor, "*n 2"], others: Float[Tensor, "k 2"]) -> Float[Tensor, "*n k"]:
    """Return the IoU of boxes of some widths and heights that share their middle, each with each."""
    shared = torch.minimum(ones.unsqueeze(-2), others).prod(-1)
    union = ones.prod(-1).unsqueeze(-1) + others.prod(-1) - shared
    return shared / union.clamp_min(torch.finfo(torch.float32).tiny)


@torch.no_grad()
def cluster_sides(sides: Float[Tensor, "n 2"], count: int) -> Float[Tensor, "count 2"]:
    """Return the shapes around which those of some things lie, the smallest area first.

    k-means with a distance of 1 - IoU: with the Euclidean distance large things would count more than small ones.
    Nothing is drawn: of two beginnings, things spread evenly over all areas and things as unlike each other as can be,
    the one is taken that ends with the larger mean IoU.

    Args:
        sides: widths and heights, of one thing or more.
        count: shapes; where fewer differ, some come more than once.
    """
    sides = sides.double()
    distinct: Tensor = sides.unique(dim=0)  # type: ignore[no-untyped-call]
    distinct = distinct[distinct.prod(1).argsort(stable=True)]
    even = (2 * torch.arange(count, device=sides.device) + 1) * len(distinct) // (2 * count)
    ends = [_settled(sides, first) for first in (distinct[even], _unlike(distinct, count))]
    best = max(ends, key=lambda shapes: float(shape_iou(sides, shapes).amax(1).mean()))
    return best[best.prod(1).argsort(stable=True)].float()


def _unlike(shapes: Float[Tensor, "n 2"], count: int) -> Float[Tensor, "count 2"]:
    """Return the middle one of some shapes, then again and again the one that is least like those before it."""
    chosen = shapes[len(shapes) // 2][None]
    for _ in range(count - 1):
        chosen = torch.cat([chosen, shapes[shape_iou(shapes, chosen).amax(1).argmin()][None]])
    return chosen


def _settled(sides: Float[Tensor, "n 2"], shapes: Float[Tensor, "count 2"]) -> Float[Tensor, "count 2"]:
    """Return what becomes of shapes that move to the mean of what is nearest to them; nothing, and they stay."""
    numbers = torch.arange(len(shapes), device=sides.device)
    nearest: Tensor | None = None
    for _ in range(ROUNDS):
        before, nearest = nearest, shape_iou(sides, shapes).argmax(1)
        if before is not None and nearest.equal(before):
            break
        members = nearest == numbers.unsqueeze(1)
        means = members.double() @ sides / members.sum(1, keepdim=True).clamp_min(1)
        shapes = means.where(members.any(1, keepdim=True), shapes)
    return shapes
