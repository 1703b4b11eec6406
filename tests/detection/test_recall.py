import numpy as np
import pytest
from numpy.typing import NDArray

from striate.detection.recall import best_overlaps, mean_average_best_overlap, recall

COUNTS = (1, 3, 7, 50)


def random_boxes(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    corners = random.integers(0, 30, (count, 2))
    return np.concatenate([corners, corners + random.integers(1, 30, (count, 2))], 1).astype(np.float32)


def iou(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    pixels = [
        {(x, y) for x in range(int(left), int(right)) for y in range(int(top), int(bottom))}
        for left, top, right, bottom in (one.tolist(), other.tolist())
    ]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def test_recall_and_best_overlap_are_those_of_counted_pixels() -> None:
    random = np.random.default_rng(3)
    proposals = [random_boxes(random, count) for count in (20, 0, 5, 9)]
    boxes = [random_boxes(random, count) for count in (4, 2, 0, 3)]
    labels = [random.integers(0, 2, len(each)) for each in boxes]
    for overlap in (0.3, 0.5):
        found, best = [], []
        for count in COUNTS:
            of_label: dict[int, list[float]] = {}
            for said, true, names in zip(proposals, boxes, labels, strict=True):
                for box, name in zip(true, names.tolist(), strict=True):
                    most = max([iou(each, box) for each in said[:count]], default=0.0)
                    of_label.setdefault(name, []).append(most)
            every = [most for values in of_label.values() for most in values]
            found.append(sum(most >= overlap for most in every) / len(every))
            best.append(sum(sum(values) / len(values) for values in of_label.values()) / len(of_label))
        assert recall(proposals, boxes, COUNTS, overlap) == pytest.approx(found, abs=1e-12)
        assert mean_average_best_overlap(proposals, boxes, labels, COUNTS) == pytest.approx(best, abs=1e-12)
        assert found[0] < found[-1] < 1


def test_an_overlap_of_just_a_half_finds_a_thing() -> None:
    box, half = np.array([[0, 0, 4, 2]], np.float32), np.array([[0, 0, 2, 2]], np.float32)
    assert best_overlaps(half, box, [1]).tolist() == [[0.5]]
    assert recall([half], [box], [1]) == (1.0,)
    assert recall([half], [box], [1], 0.51) == (0.0,)


def test_classes_count_alike_however_many_things_are_of_each() -> None:
    box = np.array([[0, 0, 4, 4]], np.float32)
    boxes = [np.concatenate([box, box, box, box + 10])]
    assert mean_average_best_overlap([box], boxes, [np.array([0, 0, 0, 1])], [1]) == (0.5,)


def test_nothing_is_found_where_nothing_is() -> None:
    nothing = np.empty((0, 4), np.float32)
    assert recall([nothing], [nothing], [1, 2]) == (0.0, 0.0)
    assert mean_average_best_overlap([nothing], [nothing], [np.empty(0, np.int64)], [1]) == (0.0,)
    assert recall([], [], [1]) == (0.0,)
