"""Local response normalization, where what it does to maps is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from striate.jobs.experiments import local_response
from striate.jobs.experiments.local_response import around, likeness, network_with
from striate.jobs.experiments.outcome import Outcome
from striate.zoo import create_model


def normalised(maps: Tensor, n: int, k: float, alpha: float, beta: float) -> Tensor:
    """The paper's formula, map by map."""
    made = torch.empty_like(maps)
    for i in range(maps.shape[1]):
        near = maps[:, max(0, i - n // 2) : i + n // 2 + 1]
        made[:, i] = maps[:, i] / (k + alpha * (near**2).sum(1)) ** beta
    return made


def test_likeness_is_what_numpy_says_pair_by_pair() -> None:
    torch.manual_seed(0)
    maps = torch.randn(5, 7, 3, 4)
    maps[:, 2] = maps[:, 1] - 0.5 * maps[:, 0]
    maps[:, 5] = 3.0  # A map that is the same everywhere has no correlation with any other.
    table = np.corrcoef(np.delete(maps.transpose(0, 1).flatten(1).numpy(), 5, axis=0))
    numbers = [0, 1, 2, 3, 4, 6]
    pairs = [
        abs(table[a, b]) for a in range(6) for b in range(a + 1, 6) if numbers[b] - numbers[a] <= local_response.NEAR
    ]
    assert likeness(maps) == pytest.approx(np.mean(pairs))


def test_maps_that_say_the_same_are_as_alike_as_can_be() -> None:
    assert likeness(torch.rand(2, 1, 4, 4).expand(-1, 6, -1, -1)) == pytest.approx(1)


@pytest.mark.parametrize("way", ["as the tutorials", "as the paper", "with a large alpha"])
def test_each_place_has_the_formula(way: str) -> None:
    constants = local_response.WAYS[way]
    assert constants is not None
    torch.manual_seed(0)
    network = network_with(constants, 10)
    for layer in local_response.LAYERS:
        before, after = around(network, layer, torch.randn(2, 1, 16, 16))
        told = normalised(before, constants.maps, constants.k, constants.alpha, constants.beta)
        torch.testing.assert_close(after, told)


def test_the_tutorials_constants_are_those_of_the_network_in_the_zoo() -> None:
    torch.manual_seed(0)
    network = network_with(local_response.WAYS["as the tutorials"], 10).eval()
    theirs = create_model("alexnet_28", image_size=(16, 16)).eval()
    theirs.load_state_dict(network.state_dict())
    images = 20 * torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(network(images), theirs(images))
    without = network_with(None, 10).eval()
    without.load_state_dict(network.state_dict())
    assert (without(images) - theirs(images)).abs().max() > 0.01


def test_a_large_alpha_alone_sets_maps_against_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_response, "MOST", 64)
    monkeypatch.setattr(local_response, "EPOCHS", 1)
    *steps, found = local_response.compare_lrn()
    assert len(steps) == 4 * 2
    assert isinstance(found, Outcome)
    rows = {str(row[0]): row[1:] for row in found.rows}
    assert list(rows) == list(local_response.WAYS)
    # Convolutions of 64, 128 and 256 maps, and dense layers behind maps of 2 x 2: normalization has nothing to learn.
    convolutions = (9 * 1 + 1) * 64 + (9 * 64 + 1) * 128 + (9 * 128 + 1) * 256
    dense = (256 * 2 * 2 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 10
    assert {row[1] for row in rows.values()} == {convolutions + dense}
    adds, peaks = ({way: int(row[column]) for way, row in rows.items()} for column in (2, 3))
    assert adds["none"] < adds["as the paper"] < adds["as the tutorials"]  # It sums over none, 5 and 9 maps.
    assert peaks["none"] < peaks["as the paper"]
    left = {way: float(str(row[4]).removesuffix("%")) for way, row in rows.items()}
    assert left["none"] == 100
    assert left["as the paper"] == pytest.approx(100 * 2**-0.75, abs=0.2)  # k alone.
    for way, row in rows.items():
        before, after = (float(each) for each in str(row[6]).split(" to "))
        assert after < before - 0.02 if way == "with a large alpha" else after == pytest.approx(before, abs=0.002)
