"""What is done against overfitting, each by itself."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.jobs.experiments import overfitting
from striate.jobs.experiments.outcome import Outcome
from striate.jobs.experiments.overfitting import WAYS, Shifted, Way, large_network, size_of_weights


def test_shifted_images_are_those_of_all_nine_shifts() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 1, 5, 6)
    dark = float(image.min())
    framed = F.pad(image, (1, 1, 1, 1), value=dark)
    shifts = [framed[:, :, top : top + 5, left : left + 6] for top in range(3) for left in range(3)]
    made = Shifted(1)(image.expand(200, -1, -1, -1))
    found = {next(place for place, one in enumerate(shifts) if torch.equal(one[0], each)) for each in made}
    assert found == set(range(9))
    assert torch.equal(Shifted(1).eval()(image), image)
    assert torch.equal(Shifted(0)(image), image)


def test_dropout_and_shifts_are_gone_at_prediction() -> None:
    networks = []
    for way in (Way(), Way(drop=0.5, shift=1)):
        torch.manual_seed(0)
        networks.append(large_network(way, 10))
    images = torch.randn(4, 1, 8, 8)
    assert not torch.allclose(networks[0](images), networks[1](images))
    torch.testing.assert_close(networks[0].eval()(images), networks[1].eval()(images))


def test_the_size_of_weights_is_their_length() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [4.0, 6.0]]))
        layer.bias.copy_(torch.tensor([8.0, 0.0]))
    assert size_of_weights(layer) == pytest.approx(11)


def test_ways_differ_in_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DRAWS": 1, "ROUNDS": 3}.items():
        monkeypatch.setattr(overfitting, name, value)
    *steps, found = overfitting.compare_overfitting()
    assert len(steps) == 6 * 3 * 20
    assert [step.done for step in steps if not isinstance(step, Outcome)] == list(range(1, 361))
    assert isinstance(found, Outcome)
    assert f"{9 * 16 + 16 + 9 * 16 * 32 + 32 + 512 * 512 + 512 + 5130:,} parameters" in found.setting
    rows = {str(row[0]): row[1:] for row in found.rows}
    assert list(rows) == list(WAYS)
    assert [row[0] for row in rows.values()] == [100] * 5 + [500]
    sizes = {name: float(str(row[6])) for name, row in rows.items()}
    assert max(sizes["weight decay"], sizes["weight decay and dropout"]) < 0.9 * min(sizes["nothing"], sizes["dropout"])
    known, others = (chart.curves for chart in found.charts)
    assert all([step for step, _ in points] == [20.0, 40.0, 60.0] for points in (*known.values(), *others.values()))
    for name, row in rows.items():
        assert float(str(row[4])) == pytest.approx(known[name][-1][1], rel=0.01)
        assert float(str(row[5])) == pytest.approx(others[name][-1][1], rel=0.01)
    # What was learned by heart is far better known than what was not.
    assert known["nothing"][-1][1] < 0.3 * others["nothing"][-1][1]
    assert others["more images"][-1][1] < others["nothing"][-1][1]
