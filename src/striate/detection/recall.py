"""How much of what is there lies in the first so many proposals."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from striate.boxes import pairwise_iou

COUNTS = (10, 50, 100, 200, 500, 1000, 2000)  # Of proposals, after which one looks.

BoxesOfImages = Sequence[Float32[np.ndarray, "_ 4"]]  # Boxes of each image, xyxy.


def best_overlaps(
    proposals: Float32[np.ndarray, "K 4"], boxes: Float32[np.ndarray, "T 4"], counts: Sequence[int]
) -> Float64[np.ndarray, "counts T"]:
    """Return the IoU of each thing of an image with that of the first so many proposals which overlaps it most.

    Args:
        proposals: the best first; none is as one that overlaps nothing.
        boxes: of things.
        counts: of proposals, each 1 or more; where there are fewer, all.
    """
    if not len(proposals):
        return np.zeros((len(counts), len(boxes)))
    overlaps = pairwise_iou(torch.from_numpy(proposals).double(), torch.from_numpy(boxes).double())
    best = np.maximum.accumulate(overlaps.numpy(), 0)
    return best[[min(count, len(best)) - 1 for count in counts]]


def recall(
    proposals: BoxesOfImages, boxes: BoxesOfImages, counts: Sequence[int], overlap: float = 0.5
) -> tuple[float, ...]:
    """Return which share of all things the first so many proposals of each image find; 0 where there are no things.

    Args:
        proposals: of each image, the best first.
        boxes: of things in the same images.
        counts: of proposals.
        overlap: IoU that finds a thing, at least.
    """
    found = _of_all(proposals, boxes, counts) >= overlap
    return tuple((found.sum(1) / max(found.shape[1], 1)).tolist())


def mean_average_best_overlap(
    proposals: BoxesOfImages, boxes: BoxesOfImages, labels: Sequence[Int64[np.ndarray, " _"]], counts: Sequence[int]
) -> tuple[float, ...]:
    """Return how well the best of the first so many proposals lie on things (MABO); 0 where there are no things.

    The IoU with the best proposal, the mean over the things of a class, and of that the mean over classes (Uijlings et
    al., "Selective search for object recognition", 2013, section 5).

    Args:
        proposals: of each image, the best first.
        boxes: of things in the same images.
        labels: of the same things.
        counts: of proposals.
    """
    every = np.concatenate([*labels, np.empty(0, np.int64)])
    if not len(every):
        return (0.0,) * len(counts)
    best = _of_all(proposals, boxes, counts)
    means = [best[:, every == label].mean(1) for label in np.unique(every)]
    return tuple(np.mean(means, 0).tolist())


def _of_all(proposals: BoxesOfImages, boxes: BoxesOfImages, counts: Sequence[int]) -> Float64[np.ndarray, "counts T"]:
    def each() -> Iterator[Float64[np.ndarray, "counts _"]]:
        yield np.zeros((len(counts), 0))
        for said, true in zip(proposals, boxes, strict=True):
            yield best_overlaps(said, true, counts)

    return np.concatenate(list(each()), 1)
