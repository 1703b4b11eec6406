"""Regions of any size made into maps of one size: RoI pooling, RoI align, and RoI align on a pyramid of maps.

A map is laid out as a table with a row of channels for each place, and each part of a region is a bag of such rows: the
largest of them, or their weighed sum. torch does that for embeddings, and does it here without ever holding what it
gathers: 512 regions of 7 x 7 parts with 4 samples each, on 256 maps, take 26 MB for the result and 3 MB for where the
samples are, where all samples' neighbours would be 411 MB. Maps in channels_last are such a table already; others are
copied once. The gradient goes to the maps, and none to the regions.

Regions are in pixels of the image, and a map's place is ``stride`` pixels wide. Of which image of the batch a region is
one, ``images`` says. There are as many results as regions: those that are filled up, such as boxes of zeros, are to be
left out where they are used.
"""

from collections.abc import Sequence
from math import prod
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor, nn
from torch.nn import functional as F

Maps = Float[Tensor, "N C H W"]
Boxes = Float[Tensor, "R 4"]
Images = Int64[Tensor, " R"]
Parts = Float[Tensor, "R C rows columns"]

CANONICAL_SIDE, CANONICAL_LEVEL = 224, 4  # An image of ImageNet's size is looked at on the map of stride 2^4.
ROUNDING = 1e-6  # So that a region of just such a size is on just that level, however its logarithm rounds.


def roi_pool(maps: Maps, boxes: Boxes, images: Images, size: tuple[int, int], *, stride: int) -> Parts:
    """Return the largest value of each part of each region; 0 for a part without a place.

    Girshick, "Fast R-CNN", 2015, section 2.1, with his program's way of rounding: a region's edges to whole places,
    both counted in, and those of its parts outwards, so that neighbours may share places. So that its shapes are known
    before it runs, each part has room for the places of the largest that a map can have: ⌈(side + 1) / parts⌉ + 1 along
    each side, 4 bytes for each place.

    Args:
        maps: of the images.
        boxes: xyxy, within the image.
        images: which image of the batch each is a region of.
        size: rows and columns of parts.
        stride: pixels from one place of the maps to the next.
    """
    height, width = maps.shape[2:]
    left, top, right, bottom = (boxes.detach() / stride + 0.5).floor().unbind(-1)
    rows, is_row = _places_within(top, bottom, size[0], height)
    columns, is_column = _places_within(left, right, size[1], width)
    places = _combined(rows, columns, width) + _first_of(images * (height * width))
    is_there = is_row[:, :, None, :, None] & is_column[:, None, :, None, :]
    table = F.pad(_table(maps), (0, 0, 0, 1))  # With a row that stands for no place, and is passed over.
    table = table.to(torch.promote_types(table.dtype, torch.float32))  # CUDA has no gradient of it in bfloat16.
    none = len(table) - 1
    largest = F.embedding_bag(_bags(places.where(is_there, none)), table, mode="max", padding_idx=none)
    return _parts(largest.to(maps.dtype), len(boxes), size)


def roi_align(
    maps: Maps,
    boxes: Boxes,
    images: Images,
    size: tuple[int, int],
    *,
    stride: int,
    samples: int = 2,
    aligned: bool = True,
) -> Parts:
    """Return the mean of some samples in each part of each region, each interpolated bilinearly; nothing is rounded.

    He, Gkioxari, Dollár and Girshick, "Mask R-CNN", 2017, section 3. What is more than a place outside the map is 0.

    Args:
        maps: of the images.
        boxes: xyxy.
        images: which image of the batch each is a region of.
        size: rows and columns of parts.
        stride: pixels from one place of the maps to the next.
        samples: along each side of a part. A fixed number: one that grows with the region, as others offer it, has no
            shape that is known before it runs.
        aligned: whether a place's value is that of its middle, as it is. If not, of its corner, half a place off, and a
            region is one place wide at least: so the first networks of that kind were trained.
    """
    height, width = maps.shape[2:]
    return _aligned(_table(maps), _Where(0, height, width, stride), boxes, images, size, samples, aligned)


def pyramid_levels(boxes: Float[Tensor, "*boxes 4"], lowest: int, highest: int) -> Int64[Tensor, "*boxes"]:
    """Return on which map of a pyramid each region is looked at, counted from the lowest: larger ones on coarser maps.

    ⌊4 + log2(√(width · height) / 224)⌋, as far as there is such a map (Lin et al., "Feature pyramid networks for object
    detection", 2017, equation 1).

    Args:
        boxes: xyxy, in pixels.
        lowest: level of the finest map, whose stride is 2^lowest.
        highest: level of the coarsest.
    """
    left, top, right, bottom = boxes.detach().unbind(-1)
    side = ((right - left) * (bottom - top)).sqrt()
    level = (CANONICAL_LEVEL + ROUNDING + (side / CANONICAL_SIDE).log2()).floor()
    return level.clamp(lowest, highest).long() - lowest


def pyramid_align(
    maps: Sequence[Float[Tensor, "N C _ _"]],
    boxes: Boxes,
    images: Images,
    levels: Images,
    size: tuple[int, int],
    *,
    strides: Sequence[int],
    samples: int = 2,
) -> Parts:
    """Return what `roi_align` makes of each region on its own map of a pyramid.

    All maps are put together into one table, a copy of them, so that all regions are looked up in it at once, however
    many of them are on each level.

    Args:
        maps: of the images, the finest first.
        boxes: xyxy.
        images: which image of the batch each is a region of.
        levels: on which of the maps each is, as `pyramid_levels` says.
        size: rows and columns of parts.
        strides: of the maps.
        samples: as for `roi_align`.
    """
    starts = [sum(m.shape[0] * prod(m.shape[2:]) for m in maps[:level]) for level in range(len(maps))]
    rows = [(start, *m.shape[2:], stride) for start, m, stride in zip(starts, maps, strides, strict=True)]
    where = _Where(*(torch.tensor(column, device=boxes.device)[levels] for column in zip(*rows, strict=True)))
    return _aligned(torch.cat([_table(m) for m in maps]), where, boxes, images, size, samples, aligned=True)


class Regions(nn.Module):
    """The maps within boxes, of one size.

    Args:
        strides: of the maps, the finest first.
        pool: what makes a region of that size: ``max``, RoI pooling, on one map alone; or ``align``, RoI align.
        samples: of RoI align, along each side of a part.
    """

    def __init__(self, strides: Sequence[int], pool: Literal["max", "align"], samples: int = 2) -> None:
        super().__init__()
        self.strides, self.pool, self.samples = tuple(strides), pool, samples

    def forward(
        self, maps: Sequence[Float[Tensor, "N C _ _"]], boxes: Float[Tensor, "N P 4"], side: int
    ) -> Float[Tensor, "R C s s"]:
        """Return ``side`` x ``side`` parts of each box: of those of the first image, of the next, and so on."""
        flat, size = boxes.flatten(0, 1), (side, side)
        images = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
        if len(self.strides) > 1:
            lowest, highest = (stride.bit_length() - 1 for stride in (self.strides[0], self.strides[-1]))
            levels = pyramid_levels(flat, lowest, highest)
            return pyramid_align(maps, flat, images, levels, size, strides=self.strides, samples=self.samples)
        if self.pool == "max":
            return roi_pool(maps[0], flat, images, size, stride=self.strides[0])
        return roi_align(maps[0], flat, images, size, stride=self.strides[0], samples=self.samples)


class _Where(NamedTuple):
    """Where the maps that regions are on begin in the table, and their sizes; for all regions alike, or for each."""

    start: int | Tensor
    height: int | Tensor
    width: int | Tensor
    stride: int | Tensor


def _aligned(
    table: Tensor,
    where: _Where,
    boxes: Tensor,
    images: Tensor,
    size: tuple[int, int],
    samples: int,
    aligned: bool,
) -> Tensor:
    left, top, right, bottom = (edge / where.stride for edge in boxes.detach().unbind(-1))
    if aligned:
        left, top, right, bottom = left - 0.5, top - 0.5, right - 0.5, bottom - 0.5
    else:
        right, bottom = torch.maximum(right, left + 1), torch.maximum(bottom, top + 1)
    rows, row_weights = _neighbours(top, bottom, size[0], samples, where.height)
    columns, column_weights = _neighbours(left, right, size[1], samples, where.width)
    places = _combined(rows, columns, where.width) + _first_of(where.start + images * (where.height * where.width))
    weights = _bags(row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]).to(table.dtype)
    summed = F.embedding_bag(_bags(places), table, mode="sum", per_sample_weights=weights)
    return _parts(summed, len(boxes), size)


def _table(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _bags(of_parts: Tensor) -> Tensor:
    return of_parts.flatten(0, 2).flatten(1)


def _parts(bags: Tensor, regions: int, size: tuple[int, int]) -> Tensor:
    return bags.view(regions, *size, bags.shape[1]).permute(0, 3, 1, 2)


def _combined(rows: Tensor, columns: Tensor, width: int | Tensor) -> Tensor:
    """Return each of a part's rows with each of its columns: regions x rows x columns of parts, x these."""
    wide = width.int().view(-1, 1, 1, 1, 1) if isinstance(width, Tensor) else width
    return rows[:, :, None, :, None] * wide + columns[:, None, :, None, :]


def _first_of(rows: Tensor) -> Tensor:
    return rows.int().view(-1, 1, 1, 1, 1)


def _neighbours(
    low: Tensor, high: Tensor, parts: int, samples: int, side: int | Tensor
) -> tuple[Int32[Tensor, "R parts taken"], Float[Tensor, "R parts taken"]]:
    """Return the places along one side between which the samples of each part lie, and the weight of each."""
    ahead = (torch.arange(parts * samples, device=low.device, dtype=low.dtype) + 0.5) / (parts * samples)
    at = low[:, None] + ahead * (high - low)[:, None]
    last = side.unsqueeze(1) - 1 if isinstance(side, Tensor) else torch.full_like(at[:, :1], side - 1)
    is_near = (at >= -1) & (at <= last + 1)
    at = at.clamp_min(0).minimum(last)
    before = at.floor()
    share = at - before
    places = torch.stack([before, (before + 1).minimum(last)], -1)
    weights = torch.stack([1 - share, share], -1) * is_near.unsqueeze(-1) / samples
    taken = len(low), parts, 2 * samples
    return places.int().view(taken), weights.view(taken)


def _places_within(
    first: Tensor, last: Tensor, parts: int, side: int
) -> tuple[Int32[Tensor, "R parts room"], Bool[Tensor, "R parts room"]]:
    """Return places along one side from where each part begins, and which of them are in it."""
    # In integers: a CUDA card divides floats by multiplying, and 21 / 7 may be more than 3 then.
    first, last = first.clamp(0, side).int(), last.clamp(0, side).int()
    extent = (last - first + 1).clamp_min(1)[:, None]
    part = torch.arange(parts, device=first.device, dtype=first.dtype)
    start = first[:, None] + part * extent // parts
    end = (first[:, None] + ((part + 1) * extent + parts - 1) // parts).clamp_max(side)
    room = torch.arange(-(-(side + 1) // parts) + 1, device=first.device, dtype=first.dtype)
    places = start.unsqueeze(2) + room
    return places, places < end.unsqueeze(2)
