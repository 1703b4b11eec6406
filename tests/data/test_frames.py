from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data.frames import Frame, middle, random_crop

SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
SMALL = st.tuples(st.integers(1, 300), st.integers(1, 300))


def is_inside(frame: Frame, size: tuple[int, int]) -> bool:
    slack = 1e-6 * max(size)
    rows = -slack <= frame.top and frame.top + frame.height <= size[0] + slack
    return rows and -slack <= frame.left and frame.left + frame.width <= size[1] + slack


@given(size=SIZES, image_size=SMALL, crop_pct=st.floats(0.1, 1))
def test_the_middle_lies_inside_and_about_in_the_middle(
    size: tuple[int, int], image_size: tuple[int, int], crop_pct: float
) -> None:
    frame = middle(size, image_size, crop_pct)
    assert is_inside(frame, size)
    assert frame.height > 0 < frame.width
    for start, length, side, wanted in (
        (frame.top, frame.height, size[0], image_size[0]),
        (frame.left, frame.width, size[1], image_size[1]),
    ):
        pixel = length / wanted  # of the network's input
        assert abs(start + length / 2 - side / 2) <= 0.5 * pixel + 1e-6 * side


def test_the_middle_of_a_square_is_what_papers_cut() -> None:
    """224 of a shorter side of 256 pixels."""
    assert middle((256, 256), (224, 224), 0.875) == Frame(16.0, 16.0, 224.0, 224.0)
    assert middle((512, 1024), (224, 224), 0.875) == Frame(32.0, 288.0, 448.0, 448.0)
    assert middle((100, 300), (224, 224), None) == Frame(0.0, 0.0, 100.0, 300.0)
    assert middle((960, 1280), (480, 640), 1.0) == Frame(0.0, 0.0, 960.0, 1280.0)


@given(
    size=SIZES,
    image_size=SMALL,
    smallest=st.floats(0.01, 1),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4),
)
def test_random_crops_lie_inside_and_have_the_proportions_or_fill_a_side(
    size: tuple[int, int], image_size: tuple[int, int], smallest: float, draws: list[float]
) -> None:
    frame = random_crop(size, image_size, smallest, draws)
    assert is_inside(frame, size)
    stretch = frame.width / frame.height / (image_size[1] / image_size[0])
    assert 0.75 - 1e-6 <= stretch <= 4 / 3 + 1e-6
    area = smallest + (1 - smallest) * draws[0]
    has_area = isclose(frame.height * frame.width, area * size[0] * size[1], rel_tol=1e-6)
    fills = isclose(frame.height, size[0], rel_tol=1e-9) or isclose(frame.width, size[1], rel_tol=1e-9)
    assert has_area or fills


def test_areas_and_proportions_are_drawn_evenly_where_all_fit_in() -> None:
    generator = np.random.default_rng(0)
    frames = [random_crop((400, 400), (224, 224), 0.08, draws.tolist()) for draws in generator.random((8000, 4))]
    areas = np.array([frame.height * frame.width / 400**2 for frame in frames])
    assert np.quantile(areas, (0.25, 0.5, 0.75)) == pytest.approx(
        [0.08 + 0.92 * share for share in (0.25, 0.5, 0.75)], abs=0.02
    )
    small = [frame for frame, area in zip(frames, areas, strict=True) if area < 0.7]  # Of which 4:3 and 3:4 fit in.
    stretches = np.log([frame.width / frame.height for frame in small]) / np.log(4 / 3)
    assert np.quantile(stretches, (0.25, 0.5, 0.75)) == pytest.approx([-0.5, 0, 0.5], abs=0.05)
    tops = np.array([frame.top / (400 - frame.height) for frame in small])
    assert np.quantile(tops, (0.25, 0.5, 0.75)) == pytest.approx([0.25, 0.5, 0.75], abs=0.03)
