"""Deep networks with activations and without."""

import pytest
import torch
from torch import nn

from striate.jobs.experiments import activations
from striate.jobs.experiments.activations import POINTS, deep_network, draw_rings, multiplied_out
from striate.jobs.experiments.outcome import Outcome, Trying


def test_layers_without_activations_are_one() -> None:
    torch.manual_seed(0)
    network = deep_network("none", 2, 3).double()
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.bias)
    points = torch.randn(50, 1, 1, 2, dtype=torch.float64)
    # A network is a line where the middle of two points is given the middle of what they are given.
    first, second, middle = (network(each) for each in (points, points.flip(0), (points + points.flip(0)) / 2))
    torch.testing.assert_close(middle, (first + second) / 2)
    single = multiplied_out(network)
    assert [parameter.numel() for parameter in single.parameters()] == [6, 3]
    torch.testing.assert_close(single.double()(points), first, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "ReLU"])
def test_weights_begin_with_the_variance_that_the_papers_say(activation: str) -> None:
    torch.manual_seed(0)
    network = deep_network(activation, 64, 10)
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in layers] == [64, 32, 32, 32, 32]
    assert len(network) == 1 + 5 + 4
    variance = (2 if activation == "ReLU" else 1) / 64
    assert float(layers[0].weight.detach().var()) == pytest.approx(variance, rel=0.1)
    assert all((layer.bias == 0).all() for layer in layers)


def test_rings_lie_where_they_should() -> None:
    rings = draw_rings(0)
    assert rings.images.shape == rings.unseen.shape == (POINTS, 1, 1, 2)
    for ring in range(3):
        radius = 2 * rings.images[rings.labels == ring].flatten(1).norm(dim=1)
        assert len(radius) == POINTS // 3
        assert float(radius.mean()) == pytest.approx(1 + ring, abs=0.05)
    assert not torch.equal(rings.images, draw_rings(1).images)


def test_rings_need_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "EPOCHS", 1)
    monkeypatch.setattr(activations, "MOST", 64)
    *steps, found = activations.compare_activations()
    assert [(each.done, each.total) for each in steps if isinstance(each, Trying)] == [(n, 8) for n in range(1, 9)]
    assert isinstance(found, Outcome)
    rows = {str(row[0]): row[1:] for row in found.rows}
    assert list(rows) == ["none", "none, as one layer", "sigmoid", "tanh", "ReLU"]
    assert rows["none"][0] == rows["ReLU"][0] == 65 * 32 + 3 * 33 * 32 + 33 * 10
    assert rows["none, as one layer"][0] == 65 * 10
    assert rows["none, as one layer"][1:3] == rows["none"][1:3]
    assert float(rows["none"][3]) < 1e-4 < 0.1 < float(rows["ReLU"][3])
    shares = {name: float(str(row[2]).removesuffix("%")) for name, row in rows.items()}
    assert shares["none"] < 50
    assert all(shares[activation] > 90 for activation in ("sigmoid", "tanh", "ReLU"))
