"""Signals on their way through many layers, where papers say what becomes of them."""

from itertools import pairwise
from math import sqrt

import pytest
import torch

from striate.jobs.experiments.fitting import read_small
from striate.jobs.experiments.initialisation import DEPTH, compare_initialisation, deep_network, signals
from striate.jobs.experiments.outcome import Outcome


def test_signals_keep_their_size_where_the_papers_say_so() -> None:
    *_, found = compare_initialisation()
    assert isinstance(found, Outcome)
    activations = found.charts[0].curves
    gradients = found.charts[2].curves
    assert len(activations["ReLU, He"]) == len(gradients["ReLU, He"]) == DEPTH
    last = {name: points[-1][1] / points[0][1] for name, points in activations.items()}
    first = {name: points[0][1] / points[-1][1] for name, points in gradients.items()}
    for kept in (last, first):
        assert kept["ReLU, naive"] < 1e-15
        assert kept["tanh, naive"] < 1e-15
        assert 0.1 < kept["ReLU, He"] < 10
        assert kept["ReLU, Xavier"] < 0.01 * kept["ReLU, He"]
        assert 0.1 < kept["tanh, Xavier"] < 10
        # Half of the variance is lost at each ReLU (He et al., equation 10): 2 to the 19th at 19 layers, roughly.
        assert kept["ReLU, Xavier"] / kept["ReLU, He"] == pytest.approx(sqrt(0.5) ** (DEPTH - 1), rel=0.5)
    assert all(0.9 < last[f"ReLU, {way}, batch norm"] < 1.1 for way in ("naive", "Xavier", "He"))
    without, within = found.charts[3:]
    assert [name.removesuffix(", batch norm") for name in within.curves] == list(without.curves)
    assert all(sum(share for _, share in curve) == pytest.approx(1) for curve in within.curves.values())
    for curve in (within.curves[f"ReLU, {way}, batch norm"] for way in ("naive", "Xavier", "He")):
        # What batch norm gives lies about 0, with a deviation of 1; ReLU cuts off the lower half.
        assert 0.4 < sum(share for value, share in curve if value < 0.05) < 0.6
        assert sum(value**2 * share for value, share in curve) == pytest.approx(0.5, abs=0.1)


def test_what_tells_images_apart_dies_behind_sigmoids_that_keep_their_size() -> None:
    """Their slope is a quarter where nothing comes in, and less elsewhere, so that no variance of 1 / n keeps it."""
    *_, found = compare_initialisation()
    assert isinstance(found, Outcome)
    activations, spread, gradients = (chart.curves for chart in found.charts[:3])
    name = "sigmoid, Xavier"
    assert all(0.4 < size < 0.6 for _, size in activations[name])
    for points in (spread[name], gradients[name][::-1]):
        steps = [after / before for (_, before), (_, after) in pairwise(points)]
        assert all(0.15 < step < 0.3 for step in steps)
        assert 0.2 < (points[-1][1] / points[0][1]) ** (1 / (DEPTH - 1)) < 0.25
    assert spread["tanh, Xavier"][-1][1] > 1e6 * spread[name][-1][1]


@pytest.mark.parametrize(("way", "variance"), [("naive", 1e-4), ("Xavier", 2 / (64 + 64)), ("He", 2 / 64)])
def test_weights_begin_as_they_are_named(way: str, variance: float) -> None:
    torch.manual_seed(0)
    dense = [layer for layer in deep_network(way, "tanh", 10, norm=False) if isinstance(layer, torch.nn.Linear)]
    weights = torch.cat([layer.weight.detach().flatten() for layer in dense[:-1]])
    assert float(weights.var()) == pytest.approx(variance, rel=0.02)
    last = {"naive": variance, "Xavier": 2 / (64 + 10), "He": variance}[way]
    assert float(dense[-1].weight.detach().var()) == pytest.approx(last, rel=0.2)
    assert all((layer.bias == 0).all() for layer in dense)


def test_signals_are_those_of_all_layers() -> None:
    torch.manual_seed(0)
    given = read_small("digits", 8, 0, 16)
    network = deep_network("He", "tanh", 10, norm=False)
    found, gradients = signals(network, given)
    expected = network[2](network[1](network[0](given.images.double())))
    torch.testing.assert_close(found[0], expected.detach())
    assert len(found) == len(gradients) == DEPTH
    assert not any(layer._forward_hooks for layer in network)
