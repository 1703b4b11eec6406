from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from striate.errors import StriateError, UsageError
from striate.results import Classes, Detections, Mask


def test_classes_name_the_most_probable_first() -> None:
    classes = Classes(("cat", "dog", "bird"), (0.2, 0.7, 0.1))
    assert (classes.best, classes.name, classes.probability) == (1, "dog", 0.7)
    assert classes.top(2) == [("dog", 0.7), ("cat", 0.2)]


@pytest.mark.parametrize(
    "probabilities", [(0.2, 0.7), (0.2, 0.7, 0.2), (0.1, 0.1, 0.1, 0.7), (1.5, -0.5, 0.0), (float("nan"),) * 3]
)
def test_classes_refuse_what_are_not_their_probabilities(probabilities: tuple[float, ...]) -> None:
    with pytest.raises(StriateError, match="3 probabilities that add up to 1"):
        Classes(("cat", "dog", "bird"), probabilities)


def test_a_mask_knows_the_share_of_each_class() -> None:
    mask = Mask(("ground", "water", "trees"), np.array([[0, 2], [2, 2]], np.uint8))
    assert mask.shares == (0.25, 0.0, 0.75)


@pytest.mark.parametrize(
    "classes",
    [
        np.array([[0, 3]], np.uint8),
        np.array([[0, 255]], np.uint8),
        np.array([[0, 1]], np.int64),
        np.array([0, 1], np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_a_mask_refuses_what_are_no_classes_of_pixels(classes: NDArray[np.uint8]) -> None:
    with pytest.raises(StriateError, match="a number from 0 to 2 for each pixel"):
        Mask(("ground", "water", "trees"), classes)


def found(**changes: Any) -> Detections:
    """Return a cat, a dog and another cat in an image of 20 x 30 pixels."""
    boxes = np.array([[1, 2, 5, 6], [0, 0, 30, 20], [3.5, 4.5, 6.25, 5]], np.float32)
    masks = tuple(np.ones(size, bool) for size in ((4, 4), (20, 30), (1, 4)))
    scores, labels = np.array([0.3, 0.9, 0.3], np.float32), np.array([0, 1, 0])
    return replace(Detections(("cat", "dog"), boxes, scores, labels, (20, 30), masks), **changes)


def test_things_are_chosen_by_score_and_class() -> None:
    all_of_them = found()
    assert len(all_of_them) == 3
    sure, cats = all_of_them.above(0.5), all_of_them.of(["cat"])
    assert (sure.labels.tolist(), sure.boxes_xyxy.tolist()) == ([1], [[0, 0, 30, 20]])
    assert sure.masks is not None
    assert [mask.shape for mask in sure.masks] == [(20, 30)]
    assert (cats.labels.tolist(), cats.boxes_xyxy[:, 0].tolist()) == ([0, 0], [1, 3.5])
    best = all_of_them.best(2)
    assert best.scores.tolist() == pytest.approx([0.9, 0.3])
    assert best.boxes_xyxy[1].tolist() == [1, 2, 5, 6]
    assert len(all_of_them.above(0.95)) == len(all_of_them.best(0)) == 0
    with pytest.raises(UsageError, match="received 'cta'. Did you mean cat?"):
        all_of_them.of(["dog", "cta"])


def test_a_mask_lies_where_its_box_does() -> None:
    mask = np.array([[True, False, False, True]])
    some = found(masks=(*(found().masks or ())[:2], mask))
    assert some.window(2) == (3, 4, 7, 5)
    assert np.argwhere(some.mask(2)).tolist() == [[4, 3], [4, 6]]
    assert int(found(masks=None).mask(0).sum()) == 16


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": np.ones(2, np.float32)}, "the same number of each"),
        ({"scores": np.array([0.1, np.nan, 0.2], np.float32)}, "scores from 0 to 1; received nan of thing 1"),
        ({"scores": np.array([0.1, 0.2, 1.2], np.float32)}, "scores from 0 to 1"),
        ({"labels": np.array([0, 2, 0])}, "labels from 0 to 1, one for each class; received 2 of thing 1"),
        ({"labels": np.array([-1, 0, 0])}, "labels from 0 to 1"),
        ({"image_size": (20, 29)}, r"within an image of 29x20 pixels; received \[0.0, 0.0, 30.0, 20.0\] of thing 1"),
        ({"boxes_xyxy": np.array([[5, 2, 1, 6]] * 3, np.float32)}, "boxes xyxy within an image"),
        ({"boxes_xyxy": np.full((3, 4), np.nan, np.float32)}, "boxes xyxy within an image"),
        ({"boxes_xyxy": np.full((3, 4), -1, np.float32)}, "boxes xyxy within an image"),
        ({"masks": (np.ones((4, 4), bool),)}, "for each box a mask of its window"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StriateError, match=said):
        found(**changes)
