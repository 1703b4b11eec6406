"""Frames around boxes: where they are, in which colour, broken or not."""

import numpy as np

from striate.reporting.boxes import box_colours, draw_boxes

GREY = np.full((20, 30, 1), 128, np.uint8)


def test_a_frame_lies_on_the_outermost_pixels_of_its_box() -> None:
    boxes = np.array([[3, 4, 13, 9], [20.2, 0, 29.6, 20]], np.float32)
    drawn = draw_boxes(GREY, boxes, np.array([0, 1]), ((255, 0, 0), (0, 0, 255)))
    wanted = np.repeat(GREY, 3, 2)
    for (left, top, right, bottom), colour in (((3, 4, 13, 9), (255, 0, 0)), ((20, 0, 30, 20), (0, 0, 255))):
        inner = wanted[top + 1 : bottom - 1, left + 1 : right - 1].copy()
        wanted[top:bottom, left:right] = colour
        wanted[top + 1 : bottom - 1, left + 1 : right - 1] = inner
    assert np.array_equal(drawn, wanted)
    assert (GREY == 128).all()


def test_a_broken_frame_is_half_of_a_whole_one() -> None:
    box = np.array([[2, 2, 26, 18]], np.float32)
    whole, broken = (
        (draw_boxes(GREY, box, np.array([0]), ((255, 0, 0),), dashed)[:, :, 0] == 255) for dashed in ((), (True,))
    )
    assert not (broken & ~whole).any()
    assert 0.4 < broken.sum() / whole.sum() < 0.65


def test_colours_are_bright_and_as_many_as_there_are_classes() -> None:
    colours = box_colours(300)
    assert len(colours) == 300
    assert len(set(colours[:60])) == 60
    assert min(max(colour) for colour in colours) > 100
