"""Regions merged greedily, the two most alike neighbours first, until one is left.

Uijlings, van de Sande, Gevers and Smeulders, "Selective search for object recognition", 2013, algorithm 1.
"""

from collections.abc import Set
from heapq import heapify, heappop, heappush
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from striate.detection.segments import Segments

Measure = Literal["colour", "texture", "size", "fill"]


def similarity(
    regions: Segments,
    ones: Int64[np.ndarray, " #pairs"],
    others: Int64[np.ndarray, " #pairs"],
    measures: Set[Measure],
    pixels: int,
) -> Float64[np.ndarray, " pairs"]:
    """Return how alike pairs of regions are: the sum of some measures, each from 0 to 1 (equation 6).

    ``colour`` and ``texture`` are what two histograms have in common (equations 1 and 3); ``size`` is the share of the
    image that is in neither of the two, so that small ones are merged early (equation 4); ``fill`` is all of the image
    but the part of the box around both that is in neither, so that one within another is merged early (equation 5).

    Args:
        regions: of one image.
        ones: places of the first of each pair; the two are broadcast.
        others: of the second.
        measures: that count.
        pixels: of the image.
    """
    sizes = regions.sizes[ones] + regions.sizes[others]
    alike = np.zeros(len(sizes))
    for measure, histograms in (("colour", regions.colour), ("texture", regions.texture)):
        if measure in measures:
            alike += np.minimum(histograms[ones], histograms[others]).sum(1)
    if "size" in measures:
        alike += 1 - sizes / pixels
    if "fill" in measures:
        around = _around(regions.boxes_xyxy[ones], regions.boxes_xyxy[others])
        alike += 1 - ((around[:, 2:] - around[:, :2]).prod(1) - sizes) / pixels
    return alike


def _around(ones: Int64[np.ndarray, "#pairs 4"], others: Int64[np.ndarray, "#pairs 4"]) -> Int64[np.ndarray, "pairs 4"]:
    low, high = np.minimum(ones[:, :2], others[:, :2]), np.maximum(ones[:, 2:], others[:, 2:])
    return np.concatenate([low, high], 1)


def group(
    regions: Segments, pairs: Int64[np.ndarray, "pairs 2"], measures: Set[Measure]
) -> Int64[np.ndarray, "hierarchy 4"]:
    """Return the boxes, xyxy, of all regions that there are at some time: the first ones, then each merged one.

    Of pairs that are equally alike, the one with the lower places is merged first, so that the result is always the
    same.

    Args:
        regions: that cover the image.
        pairs: places of neighbours among them, by which all are connected.
        measures: see `similarity`.
    """
    first, pixels = len(regions.sizes), int(regions.sizes.sum())
    # A list of what is left has room for all that will be: each merging leaves one region less.
    every = Segments(*(np.concatenate([each, np.zeros_like(each[:-1])]) for each in regions))
    beside: list[set[int]] = [set() for _ in range(first)]
    for one, other in pairs.tolist():
        beside[one].add(other)
        beside[other].add(one)
    alike = similarity(regions, pairs[:, 0], pairs[:, 1], measures, pixels)
    heap = [(-value, one, other) for value, (one, other) in zip(alike.tolist(), pairs.tolist(), strict=True)]
    heapify(heap)
    for made in range(first, 2 * first - 1):
        _, one, other = heappop(heap)
        while not (beside[one] and beside[other]):  # Only what is merged has no neighbours.
            _, one, other = heappop(heap)
        _merge(every, one, other, made)
        around = (beside[one] | beside[other]) - {one, other}
        beside[one], beside[other] = set(), set()
        beside.append(around)
        for place in around:
            beside[place] -= {one, other}
            beside[place].add(made)
        if around:
            places = sorted(around)
            values = similarity(every, np.array([made]), np.array(places), measures, pixels).tolist()
            for value, place in zip(values, places, strict=True):
                heappush(heap, (-value, place, made))
    return every.boxes_xyxy


def _merge(every: Segments, one: int, other: int, made: int) -> None:
    """Fill in what is known of a region that two others make up: histograms are weighted means (equation 2)."""
    sizes = every.sizes[one], every.sizes[other]
    every.sizes[made] = sizes[0] + sizes[1]
    every.boxes_xyxy[made] = _around(every.boxes_xyxy[[one]], every.boxes_xyxy[[other]])[0]
    for histograms in (every.colour, every.texture):
        histograms[made] = (sizes[0] * histograms[one] + sizes[1] * histograms[other]) / every.sizes[made]
