"""A convolution's columns, counted by hand."""

import pytest

from striate.jobs.experiments import im2col
from striate.jobs.experiments.outcome import Outcome


def test_columns_of_vgg16_take_what_the_arithmetic_says() -> None:
    """The second convolution sees 64 maps of 224 x 224: its columns are nine times as large."""
    *_, found = im2col.compare_im2col()
    assert isinstance(found, Outcome)
    curves = found.charts[0].curves
    assert [len(points) for points in curves.values()] == [13, 13, 13]
    second = {name: points[1][1] for name, points in curves.items()}
    assert second["maps that come in"] == pytest.approx(64 * 224 * 224 * 4 / 1e6)
    assert second["columns"] == pytest.approx(9 * second["maps that come in"])
    assert second["maps that come out"] == pytest.approx(second["maps that come in"])
    table = [[float(cell) for cell in row[2:]] for row in found.rows]
    kernel = [float(row[1]) for row in found.rows[:-1]]
    for place in range(4):
        assert table[-1][place] == sum(weight * table[row][place] for row, weight in enumerate(kernel))
