"""GoogLeNet's modules, counted against the network itself and by hand."""

import pytest
import torch

from striate.costing.layers import fold, layer_costs
from striate.data.source import finish
from striate.jobs.experiments import inception
from striate.jobs.experiments.fitting import accuracy, fit, read_small
from striate.jobs.experiments.inception import count_modules
from striate.jobs.experiments.outcome import Outcome, Trying
from striate.zoo import create_model


def test_modules_with_reductions_are_those_of_the_network() -> None:
    with torch.device("meta"):
        network = create_model("googlenet")
    rows = {row.name: row for row in fold(layer_costs(network, (3, 224, 224)), 2, {})}
    found = count_modules(reductions=True)
    assert len(found) == 9
    for name, counts in found.items():
        assert counts == (rows[f"features.{name}"].parameters, rows[f"features.{name}"].macs)


def test_a_module_without_reductions_by_hand() -> None:
    """inception3a: 192 maps of 28 x 28 come in; 64, 128, 32 and 32 go out."""
    weights = 192 * (1 * 64 + 9 * 128 + 25 * 32 + 1 * 32)
    assert count_modules(reductions=False)["inception3a"] == (weights + 64 + 128 + 32 + 32, 28 * 28 * weights)


def test_small_modules_are_trained_beside_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "EPOCHS", 1)
    monkeypatch.setattr(inception, "MOST", 64)
    *steps, found = inception.compare_inception()
    assert [(each.done, each.total) for each in steps if isinstance(each, Trying)] == [(n, 6) for n in range(1, 7)]
    assert isinstance(found, Outcome)
    assert len(found.rows) == 12
    rows = {row[0]: row[1:] for row in found.rows}
    for place in range(4):
        assert rows["all nine"][place] == sum(int(row[1 + place]) for row in found.rows[:9])
    small, chain = rows["two small ones"], rows["a chain of 3x3 instead"]
    # Sixteen 3 x 3 weights and as many biases; then 16 or 56 maps into each module, and 56 into the dense layer.
    expected = 160 + 57 * 10
    for maps in (16, 56):
        expected += (maps + 1) * (16 + 12 + 4 + 8) + (9 * 12 + 1) * 24 + (25 * 4 + 1) * 8
    assert small[0] == expected
    assert int(chain[0]) == pytest.approx(expected, rel=0.03)
    assert int(small[1]) > 2.5 * expected


def test_accuracies_stand_beside_the_network_that_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "EPOCHS", 1)
    monkeypatch.setattr(inception, "MOST", 32)

    def weigh(network: torch.nn.Module, *_: torch.Tensor) -> float:
        return sum(parameter.numel() for parameter in network.parameters()) / 1e5

    monkeypatch.setattr(inception, "accuracy", weigh)
    *_, found = inception.compare_inception()
    assert isinstance(found, Outcome)
    rows = {row[0]: row[1:] for row in found.rows}
    few, many, _, _, with_few, with_many = rows["two small ones"]
    assert (with_few, with_many) == (f"{int(few) / 1e5:.1%}", f"{int(many) / 1e5:.1%}")
    chain = rows["a chain of 3x3 instead"]
    assert (chain[4], chain[5]) == (f"{int(chain[0]) / 1e5:.1%}", "")
    assert len({with_few, with_many, chain[4]}) == 3


@pytest.mark.parametrize("way", inception.WAYS)
def test_small_networks_learn(way: str) -> None:
    given = read_small("digits", inception.SIDE, 0)
    torch.manual_seed(0)
    network = inception.small_network(way, 10)
    finish(fit(network, given, torch.optim.Adam(network.parameters(), inception.RATE), 4, 32, 0))
    assert accuracy(network, given.unseen, given.truth) > 0.6
