"""Sizes and steps from coarse to fine."""

from itertools import pairwise

import pytest

from striate.style.ladder import COARSEST, FEWEST, ladder, scaled, with_area_of


@pytest.mark.parametrize("side", [32, 127, 128, 255, 256, 300, 511, 512, 777, 1024, 2048])
def test_each_size_is_half_of_the_next_and_none_is_too_small(side: int) -> None:
    sides = [rung.side for rung in ladder(side, 200)]
    assert sides[-1] == side
    assert all(abs(2 * small - large) <= 1 for small, large in pairwise(sides))
    assert len(sides) == 1 or min(sides) >= COARSEST
    assert sides[0] < 2 * COARSEST


def test_each_next_size_has_five_eighths_as_many_steps_and_none_has_too_few() -> None:
    assert [rung.steps for rung in ladder(1024, 200)] == [200, 125, 79, 49]
    assert [rung.steps for rung in ladder(4096, 100)] == [100, 63, 40, 25, FEWEST, FEWEST]
    assert [rung.steps for rung in ladder(512, 3)] == [3, 3, 3]
    assert [rung.steps for rung in ladder(100, 50)] == [50]


@pytest.mark.parametrize("side", [512, 768, 900])
def test_twice_the_side_takes_less_than_three_times_the_steps_times_pixels(side: int) -> None:
    def work(side: int) -> int:
        return sum(rung.steps * rung.side**2 for rung in ladder(side, 200))

    assert work(2 * side) < 3 * work(side)


def test_proportions_are_kept() -> None:
    assert scaled((300, 400), 200) == (150, 200)
    assert scaled((400, 300), 200) == (200, 150)
    assert scaled((1, 1000), 100) == (1, 100)
    height, width = with_area_of((652, 512), (300, 400))
    assert height * width == pytest.approx(300 * 400, rel=0.01)
    assert height / width == pytest.approx(652 / 512, rel=0.01)
