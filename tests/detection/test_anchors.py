import pytest
import torch

from striate.boxes import xyxy_to_cxcywh
from striate.detection.anchors import RATIOS, SIZES, base_anchors, spread_anchors


def test_anchors_of_one_place_are_the_papers() -> None:
    """The sides that the paper's table 1 gives for a ratio of 1, and areas and ratios that are kept up to a pixel."""
    across, down, widths, heights = xyxy_to_cxcywh(base_anchors()).unbind(1)
    assert not across.any()
    assert not down.any()
    expected = [(size, ratio) for ratio in RATIOS for size in SIZES]
    for width, height, (size, ratio) in zip(widths.tolist(), heights.tolist(), expected, strict=True):
        assert width == pytest.approx(size / ratio**0.5, abs=1)
        assert height == pytest.approx(size * ratio**0.5, abs=1)
    assert base_anchors()[3:6, 2].tolist() == [64, 128, 256]


def test_edges_are_rounded_to_whole_pixels() -> None:
    """Of 32 pixels: sides of 45.25 and 22.63, so edges at 22.63 and 11.31."""
    assert base_anchors((32,), (0.5, 1.0, 2.0)).tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]


def test_a_map_has_all_anchors_at_each_of_its_places() -> None:
    rows, columns, base = 3, 5, base_anchors()
    anchors = spread_anchors(base, (rows, columns), 16)
    assert len(anchors) == rows * columns * 9
    for row in range(rows):
        for column in range(columns):
            first = 9 * (row * columns + column)
            middle = torch.tensor([16.0 * column, 16 * row, 16 * column, 16 * row])
            assert anchors[first : first + 9].equal(base + middle)
    assert spread_anchors(base[:1], (2, 2), (8, 4))[-1].equal(base[0] + torch.tensor([4, 8, 4, 8]))
