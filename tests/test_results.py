import numpy as np
import pytest
from numpy.typing import NDArray

from striate.errors import StriateError
from striate.results import Classes, Mask


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
