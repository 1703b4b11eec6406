"""Things that move in their frame."""

import pytest
import torch
from torch import nn

from striate.jobs.experiments import translation
from striate.jobs.experiments.outcome import Outcome


def test_things_move_in_their_frame() -> None:
    thing = torch.rand(2, 1, 16, 16)
    left, middle = translation.framed(thing, -6), translation.framed(thing, 0)
    assert left.shape == middle.shape == (2, 1, 28, 28)
    assert torch.equal(middle[:, :, 6:22, 6:22], thing)
    assert torch.equal(left[:, :, 6:22, :16], thing)
    assert (left[:, :, :, 16:] == thing.min()).all()


def test_a_mean_over_maps_forgets_where_things_are() -> None:
    """Moved by as many pixels as the maps' stride, in a frame of zeros, things give the same maps, moved.

    Without biases, that is, whose maps end at the padding, and as long as no unit that sees them lies beyond the map.
    """
    torch.manual_seed(0)
    network = translation.small_network("convolutions, their mean", 10).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    images = torch.zeros(1, 1, 28, 28)
    images[:, :, 12:16, 10:14] = torch.rand(4, 4)
    torch.testing.assert_close(network(images), network(images.roll(4, 3)))
    flat = translation.small_network("convolutions, flattened", 10).eval()
    assert (flat(images) - flat(images.roll(4, 3))).abs().max() > 0.01


def test_answers_are_followed_as_things_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "EPOCHS", 2)
    *_, found = translation.compare_translation()
    assert isinstance(found, Outcome)
    sure, same = found.charts
    assert [row[0] for row in found.rows] == list(translation.NETWORKS)
    for kind in translation.NETWORKS:
        assert [by for by, _ in same.curves[kind]] == [float(by) for by in range(-6, 7)]
        assert dict(same.curves[kind])[0.0] == 1.0
    mean = {str(row[0]): float(str(row[-1]).removesuffix("%")) for row in found.rows}
    assert mean["convolutions, their mean"] > mean["convolutions, flattened"]
    assert mean["convolutions, their mean"] > mean["dense"] + 10
    assert len(sure.curves) == 3
