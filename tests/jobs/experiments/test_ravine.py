"""Optimizers on a ravine, against closed forms and update rules."""

import pytest

from striate.jobs.experiments import ravine
from striate.jobs.experiments.outcome import Outcome


def test_plain_descent_on_the_ravine_is_what_the_closed_form_says() -> None:
    """x shrinks by 1 - rate / 10 a step, and y by 1 - 2 · rate: with a rate of .95 it crosses the bottom each time."""
    path = ravine.walk("SGD")
    assert len(path) == ravine.STEPS + 1
    for step, (x, y) in enumerate(path):
        assert x == pytest.approx(-7 * (1 - 0.95 / 10) ** step)
        assert y == pytest.approx(2 * (1 - 2 * 0.95) ** step)


def test_momentum_on_the_ravine_is_the_update_rule() -> None:
    """v ← 0.9 v + g, W ← W - rate · v, as torch has it."""
    x, y, u, v = -7.0, 2.0, 0.0, 0.0
    for place in ravine.walk("momentum"):
        assert place == pytest.approx((x, y))
        u, v = 0.9 * u + x / 10, 0.9 * v + 2 * y
        x, y = x - 0.1 * u, y - 0.1 * v


def test_optimizers_walk_and_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ravine, "MOST", 320)
    *steps, found = ravine.compare_optimizers()
    assert len(steps) == 6 * 4 * 10
    assert isinstance(found, Outcome)
    rows = {str(row[0]): row[1:] for row in found.rows}
    # Plain descent crosses the bottom in each step, since y takes the other sign; the first does so from the start on.
    assert rows["SGD"][1] == ravine.STEPS
    # What is left of x² / 20 by the closed form; nothing is left of y.
    height = (7 * (1 - 0.095) ** 40) ** 2 / 20 + (2 * 0.9**40) ** 2
    assert float(rows["SGD"][2]) == pytest.approx(height, rel=0.05)
    assert all(float(str(row[-1]).removesuffix("%")) > 50 for row in rows.values())
