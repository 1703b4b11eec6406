"""Large kernels and small ones, counted by hand."""

import pytest
import torch

from striate.jobs.experiments import kernels
from striate.jobs.experiments.fitting import SmallSet
from striate.jobs.experiments.outcome import Outcome, Trying


def test_kernels_see_and_take_what_the_paper_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "PHASES", ((1, 1e-2), (1, 1e-3)))
    monkeypatch.setattr(kernels, "DRAWS", 2)
    monkeypatch.setattr(kernels, "MOST", 64)
    *steps, found = kernels.compare_kernels()
    assert [(each.done, each.total) for each in steps if isinstance(each, Trying)] == [(n, 40) for n in range(1, 41)]
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
        (way, sees, count, 8 * 8 * count, layers) for way, (sees, count, layers) in counted.items()
    ]
    peaks = {row[0]: int(row[5]) for row in found.rows}
    assert all(len(curve) == 4 for curve in found.charts[0].curves.values())
    assert peaks["one 3x3"] < peaks["two 3x3"] < peaks["three 3x3"]


def test_a_kernel_knows_patterns_that_it_sees_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bright pixels three apart, of either of two classes by their direction: no window of 3 x 3 holds both."""
    draws = torch.Generator().manual_seed(0)
    images, labels = torch.zeros(240, 1, 8, 8), torch.arange(240) % 2
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = torch.randint(1, 4, (2,), generator=draws).tolist()
        image[0, row, column] = image[0, row + 3 * label, column + 3 * (1 - label)] = 3.0
    given = SmallSet("pairs", images[:160], labels[:160], images[160:], labels[160:], 2)
    monkeypatch.setattr(kernels, "read_small", lambda *_: given)
    monkeypatch.setattr(kernels, "DRAWS", 1)
    monkeypatch.setattr(kernels, "WAYS", {"one 3x3": (3,), "one 7x7": (7,), "three 3x3": (3, 3, 3)})
    *_, found = kernels.compare_kernels()
    assert isinstance(found, Outcome)
    for way, sees, *_, known, unseen, span in found.rows:
        shares = [float(each.rstrip("%")) for each in (str(known), str(unseen))]
        assert span == f"{unseen} to {unseen}", way
        if sees == "3 x 3":
            assert max(shares) < 80
        elif sees == "7 x 7":
            assert min(shares) > 95
