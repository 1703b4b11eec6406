"""Precision, recall and their means: by hand, against plain loops, and as COCO counts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.boxes import pairwise_iou
from striate.detection.scores import Truth, coco_scores, mean_of, precision_recall, runs_of
from striate.reporting.figures import precision_recall as drawn
from striate.results import Detections

Boxes = Sequence[tuple[float, float, float, float]]
SIDE = 250  # Of all images.
NOWHERE = (50.0, 50.0, 60.0, 60.0)
HERE, THERE = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 30.0, 30.0)


def found(boxes: Boxes, scores: Sequence[float], labels: Sequence[int] | None = None) -> Detections:
    numbers = np.array([0] * len(boxes) if labels is None else list(labels), np.int64)
    corners = np.array(list(boxes), np.float32).reshape(-1, 4)
    return Detections(("a", "b", "c"), corners, np.array(list(scores), np.float32), numbers, (SIDE, SIDE))


def truth(boxes: Boxes, labels: Sequence[int] | None = None, ignored: Sequence[bool] | None = None) -> Truth:
    numbers = torch.tensor([0] * len(boxes) if labels is None else list(labels), dtype=torch.int64)
    hidden = torch.tensor([False] * len(boxes) if ignored is None else list(ignored), dtype=torch.bool)
    return Truth(torch.tensor(list(boxes)).reshape(-1, 4), numbers, hidden)


def test_by_hand_right_wrong_right_of_three() -> None:
    """Precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3: eleven points 4 · 1 + 3 · 2/3, and an area of 1/3 + 2/9."""
    (curve,) = precision_recall(
        [found([HERE, NOWHERE, THERE], [0.9, 0.8, 0.7])], [truth([HERE, THERE, (70.0, 0.0, 80.0, 10.0)])], 1
    )
    assert curve.things == 3
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert curve.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert curve.eleven_points == pytest.approx((4 + 3 * 2 / 3) / 11)
    assert curve.area == pytest.approx(1 / 3 + 2 / 9)


def test_a_thing_is_found_once_and_by_the_surest() -> None:
    (curve,) = precision_recall([found([HERE, HERE], [0.5, 0.9])], [truth([HERE])], 1)
    assert curve.precision.tolist() == [1, 0.5]
    assert curve.area == 1
    # The surer box overlaps the same thing most: that there is another thing does not save it.
    near = (1.0, 0.0, 11.0, 10.0)
    (curve,) = precision_recall([found([HERE, HERE], [0.9, 0.8])], [truth([HERE, near])], 1)
    assert curve.precision.tolist() == [1, 0.5]
    assert curve.recall.tolist() == [0.5, 0.5]


def test_difficult_things_count_neither_way() -> None:
    (curve,) = precision_recall(
        [found([HERE, HERE, THERE, NOWHERE], [0.9, 0.85, 0.8, 0.7])],
        [truth([HERE, THERE], ignored=[True, False])],
        1,
    )
    assert curve.things == 1
    assert curve.precision.tolist() == [1, 0.5]
    assert curve.area == 1


@pytest.mark.parametrize(("right", "is_right"), [(5.0, True), (4.9, False)])
def test_half_an_overlap_is_enough(right: float, is_right: bool) -> None:
    (curve,) = precision_recall([found([(0.0, 0.0, right, 10.0)], [0.9])], [truth([HERE])], 1)
    assert curve.precision.tolist() == [float(is_right)]


def test_classes_and_images_are_kept_apart() -> None:
    curves = precision_recall(
        [found([HERE, HERE], [0.9, 0.8], [0, 1]), found([THERE], [0.7], [0])],
        [truth([HERE], [1]), truth([HERE], [0])],
        3,
    )
    assert [curve.area for curve in curves] == [0, 1, None]
    assert [curve.eleven_points for curve in curves] == [0, 1, None]
    assert mean_of(curve.area for curve in curves) == 0.5
    assert mean_of([None]) == 0
    svg = drawn({"a$b$": (curves[1].recall.tolist(), curves[1].precision.tolist())})
    assert "a$b$" in svg


BOX = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6))


Said = tuple[Boxes, Sequence[float], Sequence[int]]
Known = tuple[Boxes, Sequence[int], Sequence[bool]]


@st.composite
def images(draw: st.DrawFn) -> tuple[list[Said], list[Known]]:
    """What makes a few images, with boxes that overlap often, and scores that are all different."""
    count = draw(st.integers(1, 3))
    scores = iter(draw(st.permutations([place / 32 for place in range(1, 31)])))
    said: list[Said] = []
    true: list[Known] = []
    for _ in range(count):
        boxes = [draw(st.lists(BOX, max_size=6)), draw(st.lists(BOX, max_size=5))]
        corners = [[(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in each] for each in boxes]
        labels = [draw(st.lists(st.integers(0, 1), min_size=len(each), max_size=len(each))) for each in boxes]
        ignored = draw(st.lists(st.booleans(), min_size=len(boxes[1]), max_size=len(boxes[1])))
        said.append((corners[0], [next(scores) for _ in corners[0]], labels[0]))
        true.append((corners[1], labels[1], ignored))
    return said, true


def share_in_common(one: Sequence[float], other: Sequence[float]) -> float:
    """Count the unit squares that two boxes of whole numbers have in common."""
    squares = [
        {(x, y) for x in range(int(box[0]), int(box[2])) for y in range(int(box[1]), int(box[3]))}
        for box in (one, other)
    ]
    return len(squares[0] & squares[1]) / len(squares[0] | squares[1])


def plain_marks(said: list[Detections], true: list[Truth], label: int) -> tuple[list[bool], int]:
    """Mark what was found, surest first, as right or wrong, box by box, as VOC's own program does."""
    queue = [
        (float(score), place, box)
        for place, each in enumerate(said)
        for box, score, its in zip(each.boxes_xyxy.tolist(), each.scores, each.labels.tolist(), strict=True)
        if its == label
    ]
    used, marks = set[tuple[int, int]](), list[bool]()
    for _, place, box in sorted(queue, key=lambda entry: -entry[0]):
        most, best = -1.0, -1
        for number, thing in enumerate(true[place].xyxy.tolist()):
            share = share_in_common(box, thing)
            if int(true[place].labels[number]) == label and share > most:
                most, best = share, number
        if most < 0.5:
            marks.append(False)
        elif not true[place].ignored[best]:
            marks.append((place, best) not in used)
            used.add((place, best))
    things = sum(int(((each.labels == label) & ~each.ignored).sum()) for each in true)
    return marks, things


@given(scene=images())
def test_all_is_as_plain_loops_have_it(scene: tuple[list[Said], list[Known]]) -> None:
    said, true = [found(*each) for each in scene[0]], [truth(*each) for each in scene[1]]
    for label, curve in enumerate(precision_recall(said, true, 2)):
        marks, things = plain_marks(said, true, label)
        assert curve.things == things
        right, points = 0, []
        for place, mark in enumerate(marks, 1):
            right += mark
            points.append((right / max(things, 1), right / place))
        assert list(zip(curve.recall.tolist(), curve.precision.tolist(), strict=True)) == points
        if not things:
            assert curve.area is None
            continue
        steps = [max([p for r, p in points if r >= tenth / 10], default=0) for tenth in range(11)]
        assert curve.eleven_points == pytest.approx(sum(steps) / 11)
        # A sum over each thing that could be found: the best precision with which so many are.
        shares = [
            max([p for r, p in points if r * things >= number - 1e-9], default=0) for number in range(1, things + 1)
        ]
        assert curve.area == pytest.approx(sum(shares) / things)


@given(one=BOX, other=BOX)
def test_overlaps_are_those_of_counted_squares(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    corners = [torch.tensor([[x, y, x + w, y + h]], dtype=torch.float64) for x, y, w, h in (one, other)]
    shares = pairwise_iou(*corners)
    assert float(shares[0, 0]) == pytest.approx(share_in_common(corners[0][0].tolist(), corners[1][0].tolist()))


def test_coco_takes_the_mean_over_ten_overlaps() -> None:
    """An overlap of 0.72 is enough at .50 to .70, five of ten."""
    scores = coco_scores([found([(0.0, 0.0, 10.0, 7.2)], [0.9])], [truth([HERE])], 2)
    assert (scores.ap, scores.ap50, scores.ap75) == pytest.approx((0.5, 1, 0))
    assert scores.by_class[0] == pytest.approx(0.5)
    assert scores.by_class[1] is None


def test_coco_looks_at_101_recalls() -> None:
    """One thing of two: recalls 0 to .50 are reached."""
    scores = coco_scores([found([HERE], [0.9]), found([], [])], [truth([HERE]), truth([HERE])], 1)
    assert scores.ap50 == pytest.approx(51 / 101)


def test_coco_without_anything_found_or_to_be_found() -> None:
    nothing = found([], [])
    assert coco_scores([nothing], [truth([HERE])], 1).ap == 0
    assert coco_scores([nothing], [truth([])], 1).by_class == (None,)
    assert coco_scores([found([HERE], [0.9])], [truth([])], 1).ap == 0


def test_what_lies_in_a_crowd_does_not_count() -> None:
    crowd = truth([(0.0, 0.0, 30.0, 30.0), (40.0, 40.0, 50.0, 50.0)], ignored=[True, False])
    said = found([HERE, THERE, (40.0, 40.0, 50.0, 50.0)], [0.9, 0.8, 0.7])
    assert coco_scores([said], [crowd], 1).ap == pytest.approx(1)
    alone = replace(crowd, ignored=torch.tensor([False, False]))
    assert coco_scores([said], [alone], 1).ap50 < 0.5


def test_masks_are_judged_by_their_pixels() -> None:
    """Two triangles of one box: by boxes they are the same, by pixels they share the diagonal."""
    upper, lower = np.triu(np.ones((10, 10), bool)), np.tril(np.ones((10, 10), bool))
    said = replace(found([HERE], [0.9]), masks=(upper,))
    whole = np.zeros((SIDE, SIDE), bool)
    whole[:10, :10] = lower
    true = replace(truth([HERE]), masks=(runs_of(whole),))
    assert coco_scores([said], [true], 1).ap == pytest.approx(1)
    assert coco_scores([said], [true], 1, masks=[[runs_of(said.mask(0))]]).ap == 0
    right = replace(said, masks=(lower,))
    assert coco_scores([right], [true], 1, masks=[[runs_of(right.mask(0))]]).ap == pytest.approx(1)


def test_coco_and_voc_agree_where_their_rules_do() -> None:
    """Boxes far from each other, so that which thing is meant is clear; the area at 101 recalls is nearly the area."""
    random = np.random.default_rng(0)
    said, true = [], []
    for _ in range(40):
        corners = [(40.0 * place, 0.0, 40.0 * place + 20, 20.0) for place in range(5)]
        there = random.random(5) < 0.7
        hit = random.random(5) < 0.6
        boxes = [box if is_hit else (box[0], 25.0, box[2], 35.0) for box, is_hit in zip(corners, hit, strict=True)]
        true.append(truth([box for box, is_there in zip(corners, there, strict=True) if is_there]))
        said.append(found(boxes, random.random(5).tolist()))
    (curve,) = precision_recall(said, true, 1)
    assert curve.area is not None
    assert coco_scores(said, true, 1).ap50 == pytest.approx(curve.area, abs=0.01)
