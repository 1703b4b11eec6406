"""Scores and losses of a class for each pixel, against loops over the pixels."""

from collections.abc import Callable
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from striate.results import UNKNOWN
from striate.segmentation.losses import dice_loss, pixel_cross_entropy
from striate.segmentation.scores import boundary_band, median_frequency_weights, overlaps, scores_of

CLASSES, VOID = 4, UNKNOWN


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
    counts = overlaps(said, truth, CLASSES, known)
    for image, (right, taken, true) in enumerate(counts.tolist()):
        pixels = [(int(said[image, y, x]), int(truth[image, y, x])) for y, x in known[image].nonzero().tolist()]
        for place in range(CLASSES):
            assert right[place] == pixels.count((place, place))
            assert taken[place] == sum(s == place for s, _ in pixels)
            assert true[place] == sum(t == place for _, t in pixels)
    found = scores_of(counts.sum(0))
    pairs = [(int(t), int(s)) for t, s in zip(truth.flatten(), said.flatten(), strict=True) if int(t) != VOID]
    assert found.accuracy == pytest.approx(sum(t == s for t, s in pairs) / len(pairs))
    for place, iou in enumerate(found.ious):
        both = sum(t == s == place for t, s in pairs)
        either = sum(place in (t, s) for t, s in pairs)
        assert iou == (pytest.approx(both / either) if either else None)


def test_a_class_that_is_nowhere_has_no_part_in_the_mean() -> None:
    truth = torch.tensor([[[0, 0, 1, 1]]])
    found = scores_of(overlaps(torch.tensor([[[0, 1, 1, 1]]]), truth, 3, truth >= 0)[0])
    assert [None if iou is None else round(iou, 6) for iou in found.ious] == [0.5, 0.666667, None]
    assert found.mean_iou == pytest.approx((1 / 2 + 2 / 3) / 2)
    nothing = scores_of(torch.zeros(3, 3, dtype=torch.int64))
    assert (nothing.accuracy, nothing.mean_iou, nothing.ious) == (None, None, (None, None, None))


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
    found = float(pixel_cross_entropy(logits, truth, None if weights is None else torch.tensor(weights)))
    total, shares = 0.0, logits.double().softmax(1)
    for image, row, column in known.nonzero().tolist():
        label = int(truth[image, row, column])
        weight = 1.0 if weights is None else weights[label]
        total -= weight * log(float(shares[image, label, row, column]))
    assert found == pytest.approx(total / truth.numel(), rel=1e-5)


def test_dice_is_that_of_a_loop_and_leaves_out_classes_that_are_not_there() -> None:
    _, truth, known = drawn(5)
    truth[0] = truth[0].where(truth[0] != 2, 1)  # Nothing in the first image is of class 2.
    logits = torch.randn(2, CLASSES, 7, 9, generator=torch.Generator().manual_seed(6))
    shares, losses = logits.double().softmax(1), []
    for image, places in enumerate(((0, 1, 3), (0, 1, 2, 3))):
        lost = 0.0
        for place in places:
            both = sides = 0.0
            for row, column in known[image].nonzero().tolist():
                p, g = float(shares[image, place, row, column]), int(truth[image, row, column]) == place
                both, sides = both + p * g, sides + p + g
            lost += 1 - 2 * both / sides
        losses.append(lost / len(places))
    assert float(dice_loss(logits, truth)) == pytest.approx(sum(losses) / 2, rel=1e-5)


@pytest.mark.parametrize("loss", [pixel_cross_entropy, dice_loss])
def test_losses_of_a_batchs_parts_add_up_to_its_own(loss: Callable[..., Tensor]) -> None:
    _, truth, _ = drawn(9, (3, 7, 9))
    truth[0, :5] = VOID  # So that parts have very different numbers of known pixels.
    logits = torch.randn(3, CLASSES, 7, 9, generator=torch.Generator().manual_seed(7))
    parts = float(loss(logits[:1], truth[:1])) / 3 + float(loss(logits[1:], truth[1:])) * 2 / 3
    assert float(loss(logits, truth)) == pytest.approx(parts, rel=1e-6)


@pytest.mark.parametrize("loss", [pixel_cross_entropy, dice_loss])
def test_what_is_said_rightly_and_surely_costs_nothing_and_nothing_known_is_no_loss(
    loss: Callable[..., Tensor],
) -> None:
    _, truth, known = drawn(7)
    logits = 100.0 * torch.nn.functional.one_hot(truth.where(known, 0), CLASSES).movedim(-1, 1)
    assert float(loss(logits, truth)) == pytest.approx(0, abs=1e-6)
    assert float(loss(-logits, truth)) > 0.9
    assert float(loss(logits, torch.full_like(truth, VOID))) == 0.0


@pytest.mark.parametrize("loss", [pixel_cross_entropy, dice_loss])
def test_the_gradient_of_a_pixel_that_is_not_known_is_nothing(loss: Callable[..., Tensor]) -> None:
    _, truth, known = drawn(8)
    logits = torch.randn(2, CLASSES, 7, 9, requires_grad=True)
    torch.autograd.backward(loss(logits, truth))
    assert logits.grad is not None
    assert not logits.grad.movedim(1, -1)[~known].any()
    assert logits.grad.movedim(1, -1)[known].any()


def test_rarer_classes_weigh_more() -> None:
    assert median_frequency_weights([100, 50, 0, 200]) == (1.0, 2.0, 1.0, 0.5)
    assert median_frequency_weights([0, 0]) == (1.0, 1.0)
