"""What a choice is told to be worth, where chance is all that there is."""

from itertools import pairwise
from math import comb
from statistics import mean

import pytest
import torch

from striate.jobs.experiments import tuning
from striate.jobs.experiments.outcome import Outcome
from striate.jobs.experiments.tuning import choices, too_high


def best_of(number: int, size: int) -> float:
    """Expected share of heads of the best of so many coins, each thrown so many times."""
    below, shares = 0.0, []
    for heads in range(size + 1):
        up_to = below + comb(size, heads) / 2.0**size
        shares.append((up_to**number - below**number) * heads / size)
        below = up_to
    return sum(shares)


@pytest.mark.parametrize(("number", "size"), [(1, 25), (20, 25), (20, 100)])
def test_among_coins_the_best_is_as_lucky_as_the_arithmetic_says(number: int, size: int) -> None:
    coins = torch.rand(number, 6000, generator=torch.Generator().manual_seed(0)) < 0.5
    by_test, by_validation = choices(coins, size, 0)
    assert len(by_test) == len(by_validation) == tuning.DRAWS
    assert mean(too_high(by_test)) == pytest.approx(best_of(number, size) - 0.5, abs=0.015)
    assert mean(too_high(by_validation)) == pytest.approx(0, abs=0.015)
    assert mean(each.fresh for each in by_test) == pytest.approx(0.5, abs=0.01)


def test_a_network_that_is_better_on_all_images_is_chosen() -> None:
    right = torch.zeros(3, 100, dtype=torch.bool)
    right[1] = True
    for found in choices(right, 10, 0):
        assert all((each.told, each.fresh) == (1.0, 1.0) for each in found)


def test_test_validation_and_fresh_images_are_all_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 images of which 9 are known, what 10 do not hold the other 30 do, of which 10 are the validation set."""
    monkeypatch.setattr(tuning, "DRAWS", 50)
    right = torch.zeros(1, 40, dtype=torch.bool)
    right[0, :9] = True
    by_test, by_validation = choices(right, 10, 0)
    assert by_test == by_validation  # There is one candidate.
    left = {9 - 10 * each.told - 20 * each.fresh for each in by_test}
    assert all(0 <= round(count, 6) == pytest.approx(count) for count in left)
    assert len({each.told for each in by_test}) > 3


def test_the_fewer_images_judge_the_more_is_told_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "CANDIDATES", 20)
    monkeypatch.setattr(tuning, "NUMBERS", (1, 5, 20))
    *steps, found = tuning.compare_tuning()
    assert len(steps) == 20 * 15 * 4
    assert isinstance(found, Outcome)
    gaps = [float(str(row[3])) for row in found.rows]
    assert [str(row[0]) for row in found.rows[:2]] == ["the test set of 25", "a validation set of 25"]
    assert all(more > less > 0 for more, less in pairwise(gaps[::2]))
    assert all(abs(gap) < 0.5 * told for told, gap in zip(gaps[::2], gaps[1::2], strict=True))
    for told, fresh, gap in (row[1:4] for row in found.rows):
        difference = float(str(told).removesuffix("%")) - float(str(fresh).removesuffix("%"))
        assert difference == pytest.approx(float(str(gap)), abs=0.15)
    by_test, by_validation = found.charts[0].curves.values()
    assert [number for number, _ in by_test] == [1.0, 5.0, 20.0]
    assert by_test[0] == by_validation[0]  # There is nothing to choose from.
    assert by_test[-1][1] > by_test[0][1] + 1
    assert by_test[-1][1] == pytest.approx(gaps[2], abs=0.1)
