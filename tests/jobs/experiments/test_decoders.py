"""A class for each pixel, from coarse maps and from finer ones."""

import pytest
import torch
from torch.nn import functional as F

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
    assert len(found.charts[0].curves) == 3


def test_what_is_wrong_away_from_borders_is_not_counted_near_them(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "EPOCHS", 0)
    truth = pixel_classes(drawn.load_shapes()["test"])
    near = torch.zeros_like(truth, dtype=torch.bool)
    padded = F.pad(truth.double().unsqueeze(1), (1, 1, 1, 1), mode="replicate")[:, 0]
    beside = [
        padded[:, 1 + down : 97 + down, 1 + right : 97 + right] for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0))
    ]
    for image, row, column in torch.stack([other != truth for other in beside]).any(0).nonzero().tolist():
        near[image, max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = True
    answers = [truth, torch.where(near, truth, 1 - truth), torch.where(near, 1 - truth, truth)]
    monkeypatch.setattr(decoders, "logits", lambda *_: F.one_hot(answers.pop(0), 2).permute(0, 3, 1, 2))
    *_, found = decoders.compare_decoders()
    assert isinstance(found, Outcome)
    share = float(near.double().mean())
    assert f"{share:.0%} of all" in found.setting
    right, away, at_borders = (row[4:] for row in found.rows)
    assert right == ("100.0%", "100.0%", "100.0%")
    assert (away[0], away[2]) == (f"{share:.1%}", "100.0%")
    assert (at_borders[0], at_borders[2]) == (f"{1 - share:.1%}", "0.0%")
    for row, wrong in ((away, ~near), (at_borders, near)):
        # Of each class what is right, over that and all that is wrong, which is said to be of it or is.
        ious = [float((truth == k)[~wrong].sum() / ((truth == k)[~wrong].sum() + wrong.sum())) for k in range(2)]
        assert row[1] == f"{sum(ious) / 2:.1%}"


def test_finer_maps_know_better_where_things_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "COUNTS", {"train": 64, "val": 1, "test": 16})
    monkeypatch.setattr(decoders, "EPOCHS", 6)
    monkeypatch.setattr(decoders, "WAYS", {"fcn32s": (32,), "fcn8s": (32, 16, 8)})
    *_, found = decoders.compare_decoders()
    assert isinstance(found, Outcome)
    coarse, fine = ([float(str(cell).removesuffix("%")) for cell in row[4:]] for row in found.rows)
    assert coarse[2] < fine[2]
    assert all(row[2] < row[1] < row[0] for row in (coarse, fine))


def test_other_data_has_no_class_for_each_pixel() -> None:
    with pytest.raises(UsageError, match="class for each pixel"):
        next(decoders.compare_decoders("digits"))
