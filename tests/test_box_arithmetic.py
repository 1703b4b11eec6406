"""Boxes against plain loops over pixels and formulas, and there and back again."""

from collections.abc import Callable
from math import exp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from striate.boxes import (
    box_area,
    clip_boxes,
    cxcywh_to_xyxy,
    decode_boxes,
    encode_boxes,
    giou,
    iou,
    pairwise_iou,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)

REFINED = (10.0, 10.0, 5.0, 5.0)


def drawn(seed: int, count: int = 7, *, whole: bool = False) -> Tensor:
    """Return boxes in an image of 20 x 20 pixels; ``whole`` for such with edges between pixels."""
    generator = torch.Generator().manual_seed(seed)
    if whole:
        corners = torch.randint(0, 21, (count, 2, 2), generator=generator).float().sort(1).values
    else:
        corners = (20 * torch.rand(count, 2, 2, generator=generator, dtype=torch.float64)).sort(1).values
    return corners.flatten(1)


def pixels(box: Tensor) -> set[tuple[int, int]]:
    left, top, right, bottom = (int(edge) for edge in box)
    return {(row, column) for row in range(top, bottom) for column in range(left, right)}


@given(st.integers(0, 1000))
@pytest.mark.parametrize(("there", "back"), [(xyxy_to_xywh, xywh_to_xyxy), (xyxy_to_cxcywh, cxcywh_to_xyxy)])
def test_forms_are_each_others_inverse(
    there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], seed: int
) -> None:
    boxes = drawn(seed)
    torch.testing.assert_close(back(there(boxes)), boxes)


def test_forms_are_what_they_say() -> None:
    box = torch.tensor([1.0, 2.0, 5.0, 10.0])
    assert xyxy_to_xywh(box).tolist() == [1, 2, 4, 8]
    assert xyxy_to_cxcywh(box).tolist() == [3, 6, 4, 8]
    assert float(box_area(box)) == 32


@given(st.integers(0, 1000))
def test_overlaps_are_those_of_sets_of_pixels(seed: int) -> None:
    ones, others = drawn(seed, 6, whole=True), drawn(seed + 1, 5, whole=True)
    shares, general = pairwise_iou(ones, others), giou(ones[:, None], others)
    assert shares.shape == general.shape == (6, 5)
    for i, one in enumerate(ones):
        assert float(box_area(one)) == len(pixels(one))
        for j, other in enumerate(others):
            both, either = len(pixels(one) & pixels(other)), len(pixels(one) | pixels(other))
            share = both / either if either else 0.0
            assert float(shares[i, j]) == pytest.approx(share)
            edges = torch.cat([torch.minimum(one[:2], other[:2]), torch.maximum(one[2:], other[2:])])
            around = float(box_area(edges))
            empty = (around - either) / around if around else 1.0
            assert float(general[i, j]) == pytest.approx(share - empty, abs=1e-6)


def test_generalised_iou_grows_as_boxes_that_do_not_meet_come_closer() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [50.0, 0, 60, 10]], requires_grad=True)
    torch.autograd.backward(giou(boxes[0], boxes[1]))
    assert boxes.grad is not None
    assert boxes.grad[0, 2] > 0
    assert boxes.grad[1, 0] < 0
    torch.autograd.gradcheck(giou, (drawn(1).requires_grad_(), drawn(2).requires_grad_()))
    torch.autograd.gradcheck(iou, (drawn(3).requires_grad_(), drawn(4).requires_grad_()))


def test_clipped_boxes_lie_in_their_own_image() -> None:
    boxes = torch.tensor([[-5.0, 2, 8, 30], [40.0, 1, 50, 3]]).expand(2, 2, 4)
    clipped = clip_boxes(boxes, torch.tensor([[20, 10], [25, 45]]))
    assert clipped.tolist() == [[[0, 2, 8, 20], [10, 1, 10, 3]], [[0, 2, 8, 25], [40, 1, 45, 3]]]
    assert clip_boxes(boxes[0], torch.tensor([20, 10])).equal(clipped[0])


@given(st.integers(0, 1000), st.sampled_from([(1.0, 1.0, 1.0, 1.0), REFINED]))
def test_what_is_decoded_is_what_was_encoded(seed: int, weights: tuple[float, float, float, float]) -> None:
    boxes, anchors = drawn(seed) + torch.tensor([0, 0, 1, 1]), drawn(seed + 1) + torch.tensor([0, 0, 1, 1])
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, anchors, weights), anchors, weights), boxes)
    offsets = encode_boxes(boxes, anchors, weights)
    torch.testing.assert_close(encode_boxes(decode_boxes(offsets, anchors, weights), anchors, weights), offsets)


def test_offsets_are_the_papers() -> None:
    anchor, box = torch.tensor([10.0, 10, 30, 50]), torch.tensor([20.0, 20, 60, 40])
    expected = torch.tensor([(40 - 20) / 20, (30 - 30) / 40, 2.0, 0.5])
    expected[2:] = expected[2:].log()
    torch.testing.assert_close(encode_boxes(box, anchor), expected)
    torch.testing.assert_close(encode_boxes(box, anchor, REFINED), expected * torch.tensor(REFINED))
    many = decode_boxes(expected.expand(3, 5, 4), anchor.expand(3, 1, 4))
    torch.testing.assert_close(many, box.expand(3, 5, 4))


def test_a_side_does_not_grow_without_bounds() -> None:
    wide = decode_boxes(torch.tensor([0.0, 0, 1000, 0]), torch.tensor([0.0, 0, 16, 16]))
    assert float(wide[2] - wide[0]) == pytest.approx(1000, rel=1e-5)
    assert float(decode_boxes(torch.tensor([0.0, 0, 1, 0]), torch.tensor([0.0, 0, 16, 16]))[2]) == pytest.approx(
        8 + 8 * exp(1)
    )


def test_offsets_in_16_bits_are_added_in_the_anchors_type() -> None:
    decoded = decode_boxes(torch.zeros(1, 4, dtype=torch.bfloat16), torch.tensor([[1001.0, 1003, 1017, 1021]]))
    assert decoded.tolist() == [[1001, 1003, 1017, 1021]]
