"""Gradients by formula, whose values at some places everybody knows."""

from dataclasses import replace
from math import isnan

import pytest
import torch
from torch import Tensor

from striate.jobs.experiments.gradients import (
    ACTIVATIONS,
    STEP,
    Closed,
    closed_forms,
    compare_gradients,
    finite_differences,
)
from striate.jobs.experiments.outcome import Outcome


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_finite_differences_of_a_cube_are_known() -> None:
    """((x + h)³ - (x - h)³) / 2h = 3x² + h²."""
    at = numbers(-2, 0, 0.5, 3)
    found = finite_differences(lambda x: float((x**3).sum()), at)
    torch.testing.assert_close(found, 3 * at**2 + STEP**2, rtol=0, atol=1e-8)
    assert torch.equal(at, numbers(-2, 0, 0.5, 3))


def test_a_wrong_formula_is_found() -> None:
    right = Closed("square", "2x", torch.square, lambda x: 2 * x, numbers(-1, 5), numbers(1, 1))
    wrong = replace(right, gradient=lambda x: 3 * x)
    assert right.differences() == pytest.approx((0, 0), abs=1e-8)
    assert wrong.differences() == pytest.approx((5, 5))


def test_slopes_are_those_that_everybody_knows() -> None:
    slopes = {name: derivative(numbers(-1, 1, 7)).tolist() for name, (_, _, derivative) in ACTIVATIONS.items()}
    assert slopes["ReLU"] == [0, 1, 1]
    assert slopes["ReLU6"] == [0, 1, 0]
    assert slopes["leaky ReLU"] == [0.1, 1, 1]
    middle = {name: float(derivative(numbers(0))) for name, (_, _, derivative) in ACTIVATIONS.items()}
    assert (middle["sigmoid"], middle["tanh"]) == (0.25, 1)


def test_what_a_loss_sends_back_is_what_is_said_less_the_truth() -> None:
    """Weights of zero say 1/2 for each of two classes, to two images."""
    truth = numbers(1, 0, 0, 1).view(2, 2)
    forms = {form.name: form for form in closed_forms(torch.zeros(2, 3).double(), truth, torch.Generator())}
    said = torch.zeros(2, 2).double()
    found = forms["softmax and cross-entropy, mean over N images"].gradient(said)
    assert found.tolist() == [[-0.25, 0.25], [0.25, -0.25]]
    assert forms["identity and half the sum of squares"].gradient(said).tolist() == [[-1, 0], [0, -1]]
    assert forms["identity and torch's mean of n squares"].gradient(said).tolist() == [[-0.5, 0], [0, -0.5]]


def test_all_formulas_are_right_but_where_softmax_overflows() -> None:
    *steps, found = compare_gradients()
    assert isinstance(found, Outcome)
    assert len(steps) == len(found.rows) == len(ACTIVATIONS) + 10
    apart = {str(row[0]): (float(row[2]), float(row[3])) for row in found.rows}
    overflowing = apart.pop("softmax, exp x / Σ exp x, 1000 added to all x")
    assert all(isnan(each) for each in overflowing)
    assert all(numeric < 1e-7 and automatic < 1e-14 for numeric, automatic in apart.values())
    values, slopes = (chart.curves for chart in found.charts)
    assert list(values) == list(slopes) == list(ACTIVATIONS)
    assert max(slope for _, slope in slopes["sigmoid"]) == pytest.approx(0.25, abs=1e-3)
