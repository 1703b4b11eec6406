"""A dense network and convolutions on few images."""

import pytest
import torch

from striate.jobs.experiments import images
from striate.jobs.experiments.images import put, small_network
from striate.jobs.experiments.outcome import Outcome, Trying


def test_things_lie_where_they_are_put() -> None:
    things = torch.rand(2, 1, 8, 8)
    made = put(things, torch.tensor([0, 8]), torch.tensor([3, 8]))
    assert made.shape == (2, 1, 16, 16)
    assert torch.equal(made[0, :, :8, 3:11], things[0])
    assert torch.equal(made[1, :, 8:, 8:], things[1])
    assert int((made == things.min()).sum()) == 2 * (256 - 64) + 1


def test_convolutions_have_fewer_weights() -> None:
    dense, convolutions = (
        sum(parameter.numel() for parameter in small_network(way, 10).parameters()) for way in images.WAYS
    )
    assert dense == 257 * 300 + 301 * 10
    assert convolutions == 10 * 16 + (9 * 16 + 1) * 32 + (9 * 32 + 1) * 32 + 33 * 10


def test_networks_learn_from_more_and_more_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "COUNTS", (10, 50, 5000))
    monkeypatch.setattr(images, "MOST", 100)
    monkeypatch.setattr(images, "STEPS", 4)
    *steps, found = images.compare_images()
    assert [(each.done, each.total) for each in steps if isinstance(each, Trying)] == [(n, 12) for n in range(1, 13)]
    assert isinstance(found, Outcome)
    assert found.headings[2:] == ("10 images", "50 images", "100 images")
    assert [row[0] for row in found.rows] == list(found.charts[0].curves)
    for row, curve in zip(found.rows, found.charts[0].curves.values(), strict=True):
        assert [count for count, _ in curve] == [10, 50, 100]
        assert row[2:] == tuple(f"{share:.1%}" for _, share in curve)
