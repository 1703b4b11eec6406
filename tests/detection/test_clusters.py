"""Shapes that stand for those of many things: beside every way to part a few, and what must hold of any."""

from itertools import product
from statistics import mean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.detection.clusters import cluster_sides, shape_iou

Shape = tuple[float, float]


def overlap(one: Shape, other: Shape) -> float:
    shared = min(one[0], other[0]) * min(one[1], other[1])
    return shared / (one[0] * one[1] + other[0] * other[1] - shared)


def best_of_all_ways(sides: list[Shape], count: int) -> tuple[float, list[Shape]]:
    """Try every way to part things into groups; the best has the largest mean IoU with the groups' means."""
    found: tuple[float, list[Shape]] = (-1.0, [])
    for way in product(range(count), repeat=len(sides)):
        groups = [[side for side, group in zip(sides, way, strict=True) if group == each] for each in range(count)]
        if not all(groups):
            continue
        means = [(mean(w for w, _ in group), mean(h for _, h in group)) for group in groups]
        found = max(found, (mean(overlap(side, means[group]) for side, group in zip(sides, way, strict=True)), means))
    return found


def test_shapes_overlap_as_boxes_with_one_middle() -> None:
    ones, others = torch.rand(5, 2) * 20 + 1, torch.rand(3, 2) * 20 + 1
    said = shape_iou(ones, others)
    for i, j in product(range(5), range(3)):
        one, other = ((float(a), float(b)) for a, b in (ones[i], others[j]))
        assert float(said[i, j]) == pytest.approx(overlap(one, other), rel=1e-5)
    assert shape_iou(torch.zeros(1, 2), torch.zeros(1, 2)).tolist() == [[0.0]]


@pytest.mark.parametrize(
    "sides",
    [
        [(10, 10), (11, 10), (10, 12), (40, 20), (42, 19), (90, 90), (95, 88)],
        [(5, 50), (6, 48), (50, 5), (52, 6), (20, 20), (21, 22), (19, 20)],
    ],
)
def test_few_things_are_parted_as_the_best_of_all_ways_parts_them(sides: list[Shape]) -> None:
    share, means = best_of_all_ways(sides, 3)
    found = cluster_sides(torch.tensor(sides, dtype=torch.float32), 3)
    wanted = torch.tensor(sorted(means, key=lambda shape: shape[0] * shape[1]))
    torch.testing.assert_close(found, wanted)
    own = [max(overlap(side, (w, h)) for w, h in found.tolist()) for side in sides]
    assert mean(own) == pytest.approx(share, rel=1e-5)


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 9))
def test_each_shape_is_the_mean_of_the_things_that_are_nearest_to_it(seed: int, things: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sides = (torch.rand(things, 2, generator=generator) * 3).exp() * 8
    found = cluster_sides(sides, count)
    assert found.shape == (count, 2)
    areas = found.prod(1)
    assert (areas[1:] >= areas[:-1]).all()
    torch.testing.assert_close(cluster_sides(sides[torch.randperm(things, generator=generator)], count), found)
    nearest = [max(range(count), key=lambda k: overlap((w, h), tuple(found[k].tolist()))) for w, h in sides.tolist()]
    for each in set(nearest):
        own = [side for side, group in zip(sides, nearest, strict=True) if group == each]
        torch.testing.assert_close(torch.stack(own).mean(0), found[each], rtol=1e-4, atol=1e-4)


def test_shapes_come_more_than_once_where_fewer_differ() -> None:
    sides = torch.tensor([[8.0, 4.0]] * 5 + [[30.0, 20.0]] * 3)
    assert cluster_sides(sides[:5], 3).tolist() == [[8.0, 4.0]] * 3
    assert cluster_sides(sides, 4).tolist() == [[8.0, 4.0]] * 2 + [[30.0, 20.0]] * 2
    assert cluster_sides(sides, 2).tolist() == [[8.0, 4.0], [30.0, 20.0]]
