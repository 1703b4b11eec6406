"""Things drawn on images: frames, masks and names, at any size."""

import numpy as np

from striate.reporting.boxes import box_colours
from striate.reporting.detections import draw_detections
from striate.results import Detections

COLOURS = box_colours(2)


def things(size: tuple[int, int], masks: bool = False) -> Detections:
    boxes = np.array([[10, 30, 40, 60], [50, 5, 70, 20]], np.float32)
    mask = np.zeros((30, 30), bool)
    mask[:15] = True
    return Detections(
        ("cell", "dot"),
        boxes,
        np.array([0.9, 0.4], np.float32),
        np.array([0, 1]),
        size,
        (mask, np.ones((15, 20), bool)) if masks else None,
    )


def test_a_small_image_is_enlarged_and_its_frames_are_where_the_boxes_are() -> None:
    image = np.full((100, 120, 1), 128, np.uint8)
    drawn = draw_detections(image, things((100, 120)))
    factor = 4
    assert drawn.shape == (100 * factor, 120 * factor, 3)
    assert (image == 128).all()
    assert drawn[60 * factor - 1, 20 * factor].tolist() == list(COLOURS[0])  # The lowest row of the first frame.
    assert drawn[60 * factor, 20 * factor].tolist() == [128, 128, 128]
    assert drawn[45 * factor, 25 * factor].tolist() == [128, 128, 128]  # Inside of it.
    assert drawn[45 * factor, 40 * factor - 1].tolist() == list(COLOURS[0])
    # The name stands on its colour, above the box, in white letters since the colour is dark.
    above = drawn[22 * factor : 30 * factor, 10 * factor : 30 * factor].reshape(-1, 3)
    assert (above == COLOURS[0]).all(1).sum() > 100
    assert (above.min(1) > 180).sum() > 20


def test_masks_are_half_of_the_colour() -> None:
    image = np.full((600, 700, 3), 100, np.uint8)
    drawn = draw_detections(image, things((600, 700), masks=True))
    assert drawn.shape == (600, 700, 3)
    assert drawn[40, 30].tolist() == [(100 + level + 1) // 2 for level in COLOURS[0]]
    assert drawn[55, 30].tolist() == [100, 100, 100]


def test_names_stay_within_the_image() -> None:
    """Of a thing in the upper left and one at the right edge; a name may lie inside of its box."""
    for box in ([0, 0, 30, 30], [560, 0, 600, 20]):
        one = Detections(
            ("a long name of a class",),
            np.array([box], np.float32),
            np.ones(1, np.float32),
            np.zeros(1, np.int64),
            (500, 600),
        )
        drawn = draw_detections(np.zeros((500, 600, 3), np.uint8), one)
        ground = (drawn == COLOURS[0]).all(2)
        rows, columns = ground.nonzero()
        assert rows.max() < 60
        assert columns.max() - columns.min() > 100  # All of the name is there.


def test_things_of_one_class_have_colours_of_their_own() -> None:
    two = things((600, 700), masks=True)
    alone = Detections(("person",), two.boxes_xyxy, two.scores, np.zeros(2, np.int64), two.image_size, two.masks)
    drawn = draw_detections(np.full((600, 700, 3), 100, np.uint8), alone)
    assert drawn[40, 30].tolist() != drawn[10, 60].tolist()
