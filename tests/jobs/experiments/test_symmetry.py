"""Filters that begin alike: which of them must stay so."""

from itertools import combinations

import pytest
import torch
from torch.nn import functional as F

from striate.jobs.experiments import symmetry
from striate.jobs.experiments.outcome import Outcome
from striate.jobs.experiments.symmetry import WAYS, distances, distinct, mean_distance, small_network


def test_networks_begin_as_they_say() -> None:
    torch.manual_seed(0)
    for way, filters, readers in ((WAYS[0], False, False), (WAYS[1], True, False), (WAYS[2], True, True)):
        network = small_network(way, 10)
        weights = [network.get_submodule(name).get_parameter("weight") for name in ("conv1", "conv2", "output")]
        assert [bool((each == each[:1]).all()) for each in weights] == [filters, filters, False]
        assert [bool((each == each[:, :1]).all()) for each in weights[1:]] == [readers, readers]


def test_copies_of_a_filter_work_as_one_filter_does() -> None:
    """So many copies that are read alike are one whose reader's weights are so many times as large."""
    torch.manual_seed(0)
    wide, single = small_network(WAYS[2], 10), small_network(WAYS[3], 10)
    with torch.no_grad():
        for name, before in (("conv1", 1), ("conv2", 16), ("output", 32)):
            ours, theirs = single.get_submodule(name), wide.get_submodule(name)
            weight = theirs.get_parameter("weight")
            ours.get_parameter("weight").copy_(before * weight[: 10 if name == "output" else 1, :1])
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(wide(images), single(images))


@pytest.mark.parametrize("way", WAYS[1:3])
def test_filters_come_apart_by_what_reads_them(way: str) -> None:
    """Gradients of copies are the same if, and only if, what reads them is the same."""
    torch.manual_seed(0)
    network = small_network(way, 10).double()
    loss = F.cross_entropy(network(torch.randn(8, 1, 8, 8, dtype=torch.float64)), torch.arange(8))
    torch.autograd.backward(loss)
    for name in ("conv1", "conv2"):
        gradient = network.get_submodule(name).get_parameter("weight").grad
        assert gradient is not None
        apart = (gradient - gradient[:1]).abs().max()
        assert (float(apart) < 1e-12) is (way == WAYS[2])
        assert gradient.abs().max() > 1e-4


def test_distances_are_counted_pair_by_pair() -> None:
    torch.manual_seed(0)
    network = small_network(WAYS[0], 10)
    layer = network.get_submodule("conv1")
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    with torch.no_grad():
        bias.normal_()
        weight[3], bias[3] = weight[1], bias[1]
        weight[5], bias[5] = weight[1], bias[1] + 1e-5
        weight[6] = weight[0]  # With a bias of its own.
    filters = [[*weight[place].flatten().tolist(), bias[place].item()] for place in range(16)]
    length = sum(sum(value**2 for value in each) ** 0.5 for each in filters) / 16
    pairs = [
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 for one, other in combinations(filters, 2)
    ]
    apart = distances(network, "conv1")
    assert mean_distance(apart) == pytest.approx(sum(pairs) / len(pairs) / length)
    assert distinct(apart) == 14


def test_only_what_is_read_alike_stays_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symmetry, "EPOCHS", 3)
    monkeypatch.setattr(symmetry, "MOST", 320)
    *steps, found = symmetry.compare_symmetry()
    assert len(steps) == 4 * 3 * 10
    assert isinstance(found, Outcome)
    rows = {str(row[0]): row[1:] for row in found.rows}
    wide = 16 * 10 + 32 * (9 * 16 + 1) + 10 * 33
    assert [row[0] for row in rows.values()] == [wide, wide, wide, 10 + 10 + 10 * 2]
    assert [row[3] for row in rows.values()] == ["16 to 16", "1 to 16", "1 to 1", "1 to 1"]
    assert [row[4] for row in rows.values()] == ["32 to 32", "1 to 32", "1 to 1", "1 to 1"]
    losses, apart = found.charts
    assert [len(points) for points in losses.curves.values()] == [3] * 4
    assert [points[0][1] > 0.5 for points in apart.curves.values()] == [True, False, False]
    assert [points[-1][1] > 0.01 for points in apart.curves.values()] == [True, True, False]
