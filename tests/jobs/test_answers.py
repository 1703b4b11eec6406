"""What a filter answers to most."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.data.preprocessing import Preprocessing
from striate.errors import UsageError
from striate.explanation.points import Point, find_points
from striate.jobs.answers import Answering, Answers, find_answers
from striate.jobs.subjects import Subject


@pytest.fixture
def bright() -> tuple[Subject, Point]:
    """A filter that adds up 3 x 3 pixels, at every second place."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1, bias=False))
    with torch.no_grad():
        weight = network[0].weight
        assert isinstance(weight, torch.Tensor)
        weight[0], weight[1] = 1, -1
    preprocessing = Preprocessing(image_size=(16, 16), mean=(0.0,), std=(1.0,))
    return Subject(network, preprocessing, (), False, True), find_points(network, torch.empty(1, 1, 16, 16))[0]


def save(folder: Path, name: str, level: int, row: int, column: int) -> None:
    """Write a black image with a square of 3 x 3 pixels."""
    pixels = np.zeros((16, 16), dtype=np.uint8)
    pixels[row : row + 3, column : column + 3] = level
    Image.fromarray(pixels).save(folder / name)


def test_the_brightest_squares_are_found_where_they_are(bright: tuple[Subject, Point], tmp_path: Path) -> None:
    subject, point = bright
    for place, (level, row, column) in enumerate([(100, 1, 3), (255, 5, 9), (10, 7, 7), (200, 13, 13)]):
        save(tmp_path, f"{place}.png", level, row, column)
    *progress, found = find_answers(subject, point, 0, tmp_path, 3)
    assert [(each.done, each.total) for each in progress if isinstance(each, Answering)] == [
        (n, 4) for n in (1, 2, 3, 4)
    ]
    assert isinstance(found, Answers)
    assert found.images == 4
    first, second, third = found.strongest
    assert [Path(each.source).name for each in found.strongest] == ["1.png", "3.png", "0.png"]
    # The unit in row r sees from 2r - 1 on, three pixels.
    assert [each.unit for each in found.strongest] == [(3, 5), (7, 7), (1, 2)]
    assert first.value == pytest.approx(9)
    assert first.pixels.shape == (3, 3, 1)
    assert (first.pixels == 255).all()
    assert (second.pixels == 200).all()
    assert (third.pixels == 100).all()


def test_what_cannot_be_asked_is_refused(bright: tuple[Subject, Point], tmp_path: Path) -> None:
    subject, point = bright
    with pytest.raises(UsageError, match="from 0 to 1"):
        list(find_answers(subject, point, 2, tmp_path))
    with pytest.raises(UsageError, match="a folder with images"):
        list(find_answers(subject, point, 0, tmp_path))
