"""Large kernels and small ones, counted by hand."""

import pytest

from striate.jobs.experiments import kernels
from striate.jobs.experiments.outcome import Outcome, Trying


def test_kernels_see_and_take_what_the_paper_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "EPOCHS", 1)
    monkeypatch.setattr(kernels, "MOST", 64)
    *steps, found = kernels.compare_kernels()
    assert [(each.done, each.total) for each in steps if isinstance(each, Trying)] == [(n, 10) for n in range(1, 11)]
    assert isinstance(found, Outcome)
    weights = 32 * 32
    counted = {
        "one 3x3": ("3 x 3", 9 * weights, 1),
        "one 5x5": ("5 x 5", 25 * weights, 1),
        "two 3x3": ("5 x 5", 18 * weights, 2),
        "one 7x7": ("7 x 7", 49 * weights, 1),
        "three 3x3": ("7 x 7", 27 * weights, 3),
    }
    assert [row[:5] for row in found.rows] == [
        (way, sees, count + 32 * layers, 8 * 8 * count, layers) for way, (sees, count, layers) in counted.items()
    ]
    peaks = {row[0]: int(row[5]) for row in found.rows}
    assert peaks["one 3x3"] < peaks["two 3x3"] < peaks["three 3x3"]
