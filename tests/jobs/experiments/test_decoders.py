"""A class for each pixel, from coarse maps and from finer ones."""

import pytest
import torch

from striate.data import drawn
from striate.errors import UsageError
from striate.jobs.experiments import decoders
from striate.jobs.experiments.decoders import pixel_classes, small_segmenter
from striate.jobs.experiments.outcome import Outcome, Trying
from striate.jobs.experiments.table import EXPERIMENTS


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "COUNTS", {"train": 8, "val": 1, "test": 4})


def test_pixels_are_of_the_things_that_are_drawn_there(few: None) -> None:
    part = drawn.load_shapes()["train"]
    known = pixel_classes(part)
    assert known.shape == (8, 96, 96)
    for truth, annotation in zip(known, part.annotations, strict=True):
        boxes = torch.zeros(96, 96, dtype=torch.bool)
        areas = []
        for thing in annotation.instances:
            left, top, right, bottom = (int(edge) for edge in thing.xyxy)
            boxes[top:bottom, left:right] = True
            areas.append(int((right - left) * (bottom - top)))
        assert set(truth.unique().tolist()) == {0, 1}
        assert not truth[~boxes].any()
        # A thing fills between a quarter and all of its box, unless others lie over it.
        assert 0.1 * sum(areas) < int(truth.sum()) <= sum(areas)


def test_finer_maps_are_added_to_coarse_ones() -> None:
    """Maps of 64, 64 and 32 are scored, and scores of 5 classes enlarged by windows of twice the factor."""
    bodies = []
    for strides in ((32,), (32, 16), (32, 16, 8)):
        network = small_segmenter(strides, 5).eval()
        assert network(torch.rand(1, 3, 96, 64)).shape == (1, 5, 96, 64)
        scores = sum(5 * maps + 5 for maps in (64, 64, 32)[: len(strides)])
        enlarged = 25 * ((len(strides) - 1) * 4**2 + (2 * strides[-1]) ** 2)
        bodies.append(sum(parameter.numel() for parameter in network.parameters()) - scores - enlarged)
    assert len(set(bodies)) == 1


def test_networks_are_judged_everywhere_and_near_borders(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "EPOCHS", 1)
    *steps, found = EXPERIMENTS["decoders"].run(EXPERIMENTS["decoders"].data, 0)
    assert [each.done for each in steps if isinstance(each, Trying)] == list(range(1, len(steps) + 1))
    assert isinstance(found, Outcome)
    assert [row[:2] for row in found.rows] == [("fcn32s", "32"), ("fcn16s", "32 + 16"), ("fcn8s", "32 + 16 + 8")]
    assert all(0 <= float(str(cell).removesuffix("%")) <= 100 for row in found.rows for cell in row[4:])
    assert len(found.charts[0].curves) == 3


def test_other_data_has_no_class_for_each_pixel() -> None:
    with pytest.raises(UsageError, match="class for each pixel"):
        next(decoders.compare_decoders("digits"))
