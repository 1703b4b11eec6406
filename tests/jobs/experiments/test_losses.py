"""Loss and accuracy under small moves of weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.jobs.experiments import losses
from striate.jobs.experiments.fitting import SmallSet
from striate.jobs.experiments.losses import Landscape, half_of_squares
from striate.jobs.experiments.outcome import Outcome, Trying


@pytest.fixture
def two() -> SmallSet:
    """Two images of one pixel each, of two classes."""
    images, labels = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1), torch.tensor([0, 1])
    return SmallSet("two", images, labels, images, labels, 2)


def landscape(given: SmallSet, first: float) -> Landscape:
    """Say ``first`` times the pixel for the first class, and 0 for the other."""
    dense = nn.Linear(1, 2, bias=False)
    dense.weight.data = torch.tensor([[first], [0.0]])
    return Landscape(nn.Sequential(nn.Flatten(), dense), given, F.cross_entropy)


def test_half_of_squares_by_hand() -> None:
    said = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
    assert float(half_of_squares(said, torch.tensor([1, 0]))) == (1 + 1 + 0.25 + 0) / 2 / 2


def test_accuracy_jumps_where_an_image_falls_to_the_other_side(two: SmallSet) -> None:
    """The loss of either image is log(1 + exp(-w))."""
    land = landscape(two, 0.5)
    for move, right in ((0.0, 1.0), (-0.4, 1.0), (-0.6, 0.0)):
        loss, share = land.at(torch.tensor([move, 0.0], dtype=torch.float64))
        assert loss == pytest.approx(float(torch.tensor(-0.5 - move).double().exp().log1p()))
        assert share == right


def test_single_weights_change_the_loss_alone(two: SmallSet) -> None:
    assert landscape(two, 0.5).unmoved(torch.Generator()) == (0.0, 1.0)
    # Just before the jump, the second weight crosses it, and the first goes away from it.
    assert landscape(two, losses.STEP / 2).unmoved(torch.Generator()) == (0.0, 0.5)


def test_a_line_goes_through_the_middle(two: SmallSet) -> None:
    land = landscape(two, 0.5)
    lost, right = land.line(torch.Generator().manual_seed(0))
    assert [way for way, _ in lost] == [way for way, _ in right]
    assert (lost[0][0], lost[-1][0]) == (-losses.FAR, losses.FAR)
    assert lost[losses.PLACES // 2] == pytest.approx((0, land.at(torch.zeros(2, dtype=torch.float64))[0]))


def test_losses_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "HALF", 1)
    monkeypatch.setattr(losses, "MOST", 320)
    monkeypatch.setattr(losses, "ASIDE", 64)
    monkeypatch.setattr(losses, "DRAWS", 1)
    # Nothing is learned at the first rate in so few steps, and nothing kept at the last.
    monkeypatch.setattr(losses, "RATES", (1e-7, 0.05, 1e3))
    *steps, found = losses.compare_losses()
    assert [(each.done, each.total) for each in steps if isinstance(each, Trying)] == [(n, 12) for n in range(1, 13)]
    assert isinstance(found, Outcome)
    assert [row[0] for row in found.rows] == list(losses.WAYS)
    assert f"{65 * 64 + 65 * 10:,} weights" in found.setting
    for row in found.rows:
        assert row[1] == "0.0%"
        assert float(str(row[2]).removesuffix("%")) > 90
        assert row[3] == losses.PLACES
        assert 1 < int(row[4]) < losses.PLACES / 2
        assert row[5] == 0.05
    assert [len(curve) for curve in found.charts[2].curves.values()] == [20, 20, 20]
    for curve in found.charts[3].curves.values():
        assert [power for power, _ in curve] == pytest.approx([-7, -1.30103, 3])
        assert curve[1][1] > max(curve[0][1], curve[2][1])


def test_rates_are_chosen_by_images_that_are_not_the_unseen_ones() -> None:
    numbers = torch.arange(400.0).view(400, 1, 1, 1)
    given = SmallSet("numbers", numbers, numbers.flatten().long(), -numbers, numbers.flatten().long(), 400)
    chosen_by = losses.set_aside(given, 0)
    assert (len(chosen_by.images), len(chosen_by.unseen)) == (400 - losses.ASIDE, losses.ASIDE)
    both = torch.cat([chosen_by.images, chosen_by.unseen]).flatten()
    assert torch.equal(both.sort().values, numbers.flatten())
    assert torch.equal(torch.cat([chosen_by.labels, chosen_by.truth]), both.long())
