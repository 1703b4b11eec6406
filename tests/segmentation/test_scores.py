"""Scores and losses of a class for each pixel, against loops over the pixels."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from striate.segmentation.losses import dice_loss, pixel_cross_entropy
from striate.segmentation.scores import boundary_band, confusion_matrix, median_frequency_weights, scores_of

CLASSES, VOID = 4, 11


def drawn(seed: int, size: tuple[int, int, int] = (2, 7, 9)) -> tuple[Tensor, Tensor, Tensor]:
    """Return classes said, true ones with some that are not known, and which are."""
    generator = torch.Generator().manual_seed(seed)
    said = torch.randint(0, CLASSES, size, generator=generator)
    truth = torch.randint(0, CLASSES, size, generator=generator)
    known = torch.rand(size, generator=generator) > 0.2
    return said, truth.where(known, VOID), known


@given(st.integers(0, 1000))
def test_scores_are_those_of_a_loop(seed: int) -> None:
    said, truth, known = drawn(seed)
    found = scores_of(confusion_matrix(said, truth, CLASSES, known))
    pairs = [(int(t), int(s)) for t, s in zip(truth.flatten(), said.flatten(), strict=True) if int(t) != VOID]
    assert found.accuracy == pytest.approx(sum(t == s for t, s in pairs) / len(pairs))
    for place, iou in enumerate(found.ious):
        both = sum(t == s == place for t, s in pairs)
        either = sum(place in (t, s) for t, s in pairs)
        assert iou == (pytest.approx(both / either) if either else None)


def test_a_class_that_is_nowhere_has_no_part_in_the_mean() -> None:
    truth = torch.tensor([[[0, 0, 1, 1]]])
    found = scores_of(confusion_matrix(torch.tensor([[[0, 1, 1, 1]]]), truth, 3, truth >= 0))
    assert [None if iou is None else round(iou, 6) for iou in found.ious] == [0.5, 0.666667, None]
    assert found.mean_iou == pytest.approx((1 / 2 + 2 / 3) / 2)
    nothing = scores_of(torch.zeros(3, 3, dtype=torch.int64))
    assert (nothing.accuracy, nothing.mean_iou, nothing.ious) == (0.0, 0.0, (None, None, None))


@given(st.integers(0, 1000), st.integers(0, 3))
def test_pixels_boundary_band_are_those_of_a_loop(seed: int, width: int) -> None:
    _, truth, known = drawn(seed, (1, 6, 8))
    truth[:, :, :3] = 0  # A region with no border inside.
    known[:, :, :3] = True
    found = boundary_band(truth, known, width)
    rows, columns = truth.shape[1:]

    def differs(row: int, column: int) -> bool:
        around = ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1))
        return bool(known[0, row, column]) and any(
            0 <= y < rows and 0 <= x < columns and bool(known[0, y, x]) and truth[0, y, x] != truth[0, row, column]
            for y, x in around
        )

    for row in range(rows):
        for column in range(columns):
            near = any(
                differs(y, x)
                for y in range(max(row - width, 0), min(row + width + 1, rows))
                for x in range(max(column - width, 0), min(column + width + 1, columns))
            )
            assert bool(found[0, row, column]) == (near and bool(known[0, row, column]))


@pytest.mark.parametrize("weights", [None, (1.0, 3.0, 0.5, 2.0)])
def test_cross_entropy_is_that_of_a_loop(weights: tuple[float, ...] | None) -> None:
    _, truth, known = drawn(3)
    logits = torch.randn(2, CLASSES, 7, 9, generator=torch.Generator().manual_seed(4))
    given_weights = None if weights is None else torch.tensor(weights)
    found = float(pixel_cross_entropy(logits, truth, known, given_weights))
    total = share = 0.0
    shares = logits.double().softmax(1)
    for image in range(2):
        for row in range(7):
            for column in range(9):
                if known[image, row, column]:
                    label = int(truth[image, row, column])
                    weight = 1.0 if weights is None else weights[label]
                    total -= weight * log(float(shares[image, label, row, column]))
                    share += weight
    assert found == pytest.approx(total / share, rel=1e-5)


def test_dice_is_that_of_a_loop_and_leaves_out_classes_that_are_not_there() -> None:
    _, truth, known = drawn(5)
    truth = truth.where(truth != 2, 1)  # Nothing is of class 2.
    logits = torch.randn(2, CLASSES, 7, 9, generator=torch.Generator().manual_seed(6))
    shares, losses = logits.double().softmax(1), []
    for place in (0, 1, 3):
        both = sides = 0.0
        for image, row, column in known.nonzero().tolist():
            p, g = float(shares[image, place, row, column]), int(truth[image, row, column]) == place
            both, sides = both + p * g, sides + p + g
        losses.append(1 - 2 * both / sides)
    assert float(dice_loss(logits, truth, known)) == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_what_is_said_rightly_and_surely_costs_nothing_and_nothing_known_is_no_loss() -> None:
    _, truth, known = drawn(7)
    logits = 100.0 * torch.nn.functional.one_hot(truth.where(known, 0), CLASSES).movedim(-1, 1)
    nothing = torch.zeros_like(known)
    for loss in (pixel_cross_entropy, dice_loss):
        assert float(loss(logits, truth, known)) == pytest.approx(0, abs=1e-6)
        assert float(loss(-logits, truth, known)) > 0.9
        assert float(loss(logits, truth, nothing)) == 0.0


def test_the_gradient_of_a_pixel_that_is_not_known_is_nothing() -> None:
    _, truth, known = drawn(8)
    for loss in (pixel_cross_entropy, dice_loss):
        logits = torch.randn(2, CLASSES, 7, 9, requires_grad=True)
        torch.autograd.backward(loss(logits, truth, known))
        assert logits.grad is not None
        assert not logits.grad.movedim(1, -1)[~known].any()
        assert logits.grad.movedim(1, -1)[known].any()


def test_rarer_classes_weigh_more() -> None:
    assert median_frequency_weights([100, 50, 0, 200]) == (1.0, 2.0, 1.0, 0.5)
    assert median_frequency_weights([0, 0]) == (1.0, 1.0)
