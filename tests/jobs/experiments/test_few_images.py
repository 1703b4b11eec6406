"""A dense network and convolutions on few images."""

import pytest
import torch
from torch import Tensor, nn

from striate.jobs.experiments import images
from striate.jobs.experiments.fitting import read_small
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


def test_unseen_things_lie_where_those_to_learn_from_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST", 100)
    monkeypatch.setattr(images, "COUNTS", ())
    monkeypatch.setattr(images, "STEPS", 1)
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(_network: nn.Module, unseen: Tensor, truth: Tensor) -> float:
        seen.append((unseen, truth))
        return 0.0

    monkeypatch.setattr(images, "accuracy", keep)
    list(images.compare_images())
    things = read_small("digits", 8, 0, 100)
    middle, _, anywhere, _ = (unseen for unseen, _ in seen)
    assert all(torch.equal(truth, things.truth) for _, truth in seen)
    assert torch.equal(middle[:, :, 4:12, 4:12], things.unseen)
    windows = anywhere.unfold(2, 8, 1).unfold(3, 8, 1)[:, 0]
    found = (windows == things.unseen[:, 0, None, None]).flatten(3).all(3).flatten(1)
    # Each thing is there, in one of 9 x 9 places, which are as frequent as each other.
    assert found.any(1).all()
    places = found.int().argmax(1)
    rows, columns = places // 9, places % 9
    assert len(set(places.tolist())) > 60
    for each in (rows, columns):
        assert float(each.double().mean()) == pytest.approx(4, abs=0.5)
    dark = anywhere.flatten(1).sum(1) - things.unseen.flatten(1).sum(1)
    torch.testing.assert_close(
        dark, torch.full_like(dark, (256 - 64) * float(things.unseen.min())), rtol=1e-3, atol=0.1
    )


def test_convolutions_need_fewer_images_where_things_lie_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "COUNTS", (200,))
    monkeypatch.setattr(images, "MOST", 400)
    monkeypatch.setattr(images, "STEPS", 200)
    *_, found = images.compare_images()
    assert isinstance(found, Outcome)
    shares = {name: curve[-1][1] for name, curve in found.charts[0].curves.items()}
    assert shares["convolutions, things anywhere"] > shares["dense, things anywhere"] + 0.1
    assert shares["dense, things in the middle"] > shares["dense, things anywhere"] + 0.1
