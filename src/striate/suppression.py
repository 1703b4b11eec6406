"""Non-maximum suppression: of boxes that say the same thing, the most certain one.

Greedy, as Felzenszwalb et al., "Object detection with discriminatively trained part-based models", 2010, section 4.3,
have it: of the boxes that are left, keep the one with the highest score (of equal ones, the first) and drop those whose
IoU with it is above a threshold, until none is left.

What is kept depends on all that was kept before, so a plain loop computes a row of IoUs for each box that it keeps, and
most of its time goes into pairs that are nowhere near each other. Here the boxes come in blocks, best first. What was
kept before is sorted into tiles of boxes that are close to each other and about as large. Only those boxes of a block
are compared with the ones in a tile that can have an IoU above the threshold with one of them, by the box around the
tile and by its smallest area. The result is the loop's, bit by bit. All this runs in numpy on the CPU, for boxes on any
device: to bring 10,000 boxes there takes 200 kB.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 1024  # Boxes that are decided at a time.
TILE = 32  # Boxes of a tile, at most.
PAIRS = 2**15  # Of boxes, compared at a time.
SLACK = 1e-4  # By how much what is only a bound may be off, as a share.

TINY, HUGE = np.finfo(np.float32).tiny, np.finfo(np.float32).max
NOWHERE = np.array([[np.inf], [np.inf], [-np.inf], [-np.inf], [0]], np.float32)  # Fills up a tile.

# Left, top, right and bottom edges, and areas, each a row.
Rows = Float32[np.ndarray, "5 ..."]


class Kept(NamedTuple):
    """What is left of a fixed number of boxes.

    Args:
        indices: of the boxes that were kept, best first; 0 behind the last of them.
        valid: whether there is one at each place.
    """

    indices: Int64[Tensor, "*images count"]
    valid: Bool[Tensor, "*images count"]


def suppress(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    threshold: float,
    labels: Int64[Tensor, " N"] | None = None,
) -> Int64[Tensor, " kept"]:
    """Return which boxes are left, best first.

    Args:
        boxes: xyxy; compared in 32 bits.
        scores: of each; a box with a score of -∞ is no box.
        threshold: of the IoU, from 0 to 1, up to which two boxes may both stay.
        labels: class of each; boxes of different classes do not suppress each other. None for all of one class.
    """
    rows, order = _sorted(boxes, scores)
    if labels is None:
        return torch.from_numpy(order[_kept(rows, threshold, len(order))]).to(boxes.device)
    classes, stays = labels.cpu().numpy()[order], np.zeros(len(order), bool)
    for label in np.unique(classes):
        those = np.flatnonzero(classes == label)
        stays[those[_kept(rows[:, those], threshold, len(those))]] = True
    return torch.from_numpy(order[stays]).to(boxes.device)


def suppress_to(
    boxes: Float[Tensor, "*images N 4"], scores: Float[Tensor, "*images N"], threshold: float, count: int
) -> Kept:
    """Return the ``count`` best boxes that are left of each image: as many places whatever the boxes are.

    What it costs is known before it runs: it is one operator, ``striate::suppress``, whose result's shape depends on
    shapes alone. There is no gradient: which boxes are kept does not change by little.

    Args:
        boxes: xyxy, one or more for each image; compared in 32 bits.
        scores: of each; a box with a score of -∞ is no box.
        threshold: as for `suppress`.
        count: places, of which some stay empty where fewer are left.
    """
    return Kept(*_suppress(boxes.detach(), scores.detach(), threshold, count))


@torch.library.custom_op(
    "striate::suppress",
    mutates_args=(),
    schema="(Tensor boxes, Tensor scores, float threshold, int count) -> (Tensor, Tensor)",
)
def _suppress(boxes: Tensor, scores: Tensor, threshold: float, count: int) -> tuple[Tensor, Tensor]:
    indices = np.zeros((scores[..., 0].numel(), count), np.int64)
    valid = np.zeros(indices.shape, bool)
    images = zip(boxes.reshape(-1, *boxes.shape[-2:]), scores.reshape(-1, scores.shape[-1]), strict=True)
    for image, (own_boxes, own_scores) in enumerate(images):
        rows, order = _sorted(own_boxes, own_scores)
        kept = order[_kept(rows, threshold, count)]
        indices[image, : len(kept)] = kept
        valid[image, : len(kept)] = True
    places = *scores.shape[:-1], count
    made = scores.new_empty(places, dtype=torch.int64), scores.new_empty(places, dtype=torch.bool)
    return (
        made[0].copy_(torch.from_numpy(indices).view(places)),
        made[1].copy_(torch.from_numpy(valid).view(places)),
    )


@_suppress.register_fake
def _(_boxes: Tensor, scores: Tensor, _threshold: float, count: int) -> tuple[Tensor, Tensor]:
    places = *scores.shape[:-1], count
    return scores.new_empty(places, dtype=torch.int64), scores.new_empty(places, dtype=torch.bool)


def _sorted(boxes: Tensor, scores: Tensor) -> tuple[Rows, NDArray[np.int64]]:
    """Return boxes as rows, best first, and where they were; without those that are no boxes."""
    values = scores.detach().float().cpu().numpy()
    order = np.argsort(-values, kind="stable")
    order = order[: np.count_nonzero(values > -np.inf)]
    left, top, right, bottom = boxes.detach().float().cpu().numpy()[order].T
    return np.stack([left, top, right, bottom, (right - left) * (bottom - top)]), order


def _kept(boxes: Rows, threshold: float, count: int) -> NDArray[np.int64]:
    """Return the places of boxes that are left of some that come best first, ``count`` at most."""
    kept, places, found = np.empty_like(boxes), [np.zeros(0, np.int64)], 0
    for start in range(0, boxes.shape[1], BLOCK):
        block = boxes[:, start : start + BLOCK]
        at = np.arange(start, start + block.shape[1])
        if found:
            alive = np.ones(len(at), bool)
            for place, _ in _overlapping(block, kept[:, :found], threshold):
                alive[place] = False
            block, at = block[:, alive], at[alive]
        first = _first_of_each(block, threshold)[: count - found]
        kept[:, found : found + len(first)] = block[:, first]
        places.append(at[first])
        found += len(first)
        if found == count:
            break
    return np.concatenate(places)


def _first_of_each(boxes: Rows, threshold: float) -> list[int]:
    """Return the places of boxes that are left within a block."""
    count = boxes.shape[1]
    overlaps = np.zeros((count, count), bool)
    for ones, others in _overlapping(boxes, boxes, threshold):
        overlaps[ones, others] = True
    rows = [int.from_bytes(row.tobytes(), "little") for row in np.packbits(overlaps, axis=1, bitorder="little")]
    dropped, first = 0, []
    for place, row in enumerate(rows):
        if not dropped >> place & 1:
            first.append(place)
            dropped |= row
    return first


def _overlapping(boxes: Rows, others: Rows, threshold: float) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs of places whose IoU is above the threshold, part by part."""
    if not boxes.shape[1] or not others.shape[1]:
        return
    tiles, places = _tiles(others)
    near, tile = _near(boxes, tiles, threshold)
    step = max(PAIRS // tiles.shape[1], 1)
    for start in range(0, len(near), step):
        ones, those = near[start : start + step], tile[start : start + step]
        inside, pair = np.nonzero(_iou(tiles.take(those, 2), boxes.take(ones, 1)) > threshold)
        yield ones[pair], places[inside, those[pair]]


def _tiles(boxes: Rows) -> tuple[Float32[np.ndarray, "5 tile tiles"], Int64[np.ndarray, "tile tiles"]]:
    """Return boxes in tiles, and their places: halved again and again, at the middle across, down and in area."""
    count = boxes.shape[1]
    halvings = max(-(-count // TILE) - 1, 0).bit_length()
    places = np.full((1, -(-count >> halvings) << halvings), count)
    places[0, :count] = np.arange(count)
    keys = boxes[0] + boxes[2], boxes[1] + boxes[3], boxes[4]
    for halving in range(halvings):
        key = np.append(keys[halving % len(keys)], np.float32(np.inf))[places]
        order = np.argpartition(key, key.shape[1] // 2, axis=1)
        places = np.take_along_axis(places, order, 1).reshape(2 * len(places), -1)
    filled = np.concatenate([boxes, NOWHERE], 1)
    return filled[:, places.T], places.T


def _near(
    boxes: Rows, tiles: Float32[np.ndarray, "5 tile tiles"], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of a box and a tile, one of whose boxes can have an IoU above the threshold with it.

    No intersection is wider than the tile's widest box, or than what the box shares with the box around the whole tile;
    and none gives an IoU above t that is not more than t times the larger of two areas.
    """
    around = *(tiles[edge].min(0) for edge in (0, 1)), *(tiles[edge].max(0) for edge in (2, 3))
    wide, high = ((tiles[edge + 2] - tiles[edge]).max(0) for edge in (0, 1))
    smallest = np.where(tiles[0] == np.inf, HUGE, tiles[4]).min(0)
    rows, found = max(PAIRS // len(wide), 1), []
    for start in range(0, boxes.shape[1], rows):
        left, top, right, bottom, area = boxes[:, start : start + rows, None]
        shared = _extent(left, right, around[0], around[2])
        np.minimum(shared, wide, out=shared)
        height = _extent(top, bottom, around[1], around[3])
        shared *= np.minimum(height, high, out=height)
        needed = np.maximum(area, smallest, out=height)
        needed *= np.float32(threshold * (1 - SLACK))
        box, tile = np.nonzero(shared > needed)
        found.append((box + start, tile))
    return np.concatenate([box for box, _ in found]), np.concatenate([tile for _, tile in found])


def _iou(tiles: Float32[np.ndarray, "5 tile pairs"], boxes: Float32[np.ndarray, "5 pairs"]) -> NDArray[np.float32]:
    """Return the IoU of boxes with those of tiles: as `striate.boxes.iou` computes it, so that both round alike."""
    shared = _extent(tiles[0], tiles[2], boxes[0], boxes[2])
    height = _extent(tiles[1], tiles[3], boxes[1], boxes[3])
    shared *= height
    union = np.add(tiles[4], boxes[4], out=height)
    union -= shared
    shared /= np.maximum(union, TINY, out=union)
    return shared


def _extent(
    start: NDArray[np.float32],
    end: NDArray[np.float32],
    other_start: NDArray[np.float32],
    other_end: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return how far two ranges overlap; 0 where they do not."""
    shared: NDArray[np.float32] = np.minimum(end, other_end)
    shared -= np.maximum(start, other_start)
    return np.maximum(shared, 0, out=shared)
