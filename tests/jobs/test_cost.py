"""What the program says a network costs, against closed forms and what was measured."""

from typing import Any

import pytest
import torch
from torch import nn

import striate
from striate.errors import UsageError


def test_a_dense_layer_at_prediction_holds_its_input_weights_and_output() -> None:
    found = striate.cost(nn.Linear(100, 50), (100,), batch_size=8)
    assert found.parameters == 100 * 50 + 50
    assert found.peak.size == 4 * (100 * 50 + 50 + 8 * 100 + 8 * 50)
    assert found.peak.by == {"parameters": 4 * 5050, "inputs": 4 * 800, "temporaries": 4 * 400}


@pytest.mark.parametrize(("optimizer", "states"), [("sgd", 0), ("momentum", 1), ("adam", 2)])
def test_training_holds_gradients_and_the_optimizers_state(optimizer: Any, states: int) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(1000, 1000))
    found = striate.cost(network, (10, 10, 10), batch_size=1, mode="training", optimizer=optimizer)
    weights = 4 * (1000 * 1000 + 1000)
    assert found.peak.by["gradients"] == weights
    assert abs(found.peak.by.get("optimizer state", 0) - states * weights) < 100  # besides, a count for each parameter


@pytest.mark.parametrize(("optimizer", "megabytes"), [("momentum", 948.8), ("adam", 1051.0)])
def test_resnet50_takes_what_was_measured_elsewhere(optimizer: Any, megabytes: float) -> None:
    """With torchvision's network and torch's profiler, in the default layout."""
    with torch.device("meta"):
        network = striate.create_model("resnet50")
    options = {"batch_size": 8, "optimizer": optimizer, "channels_last": False}
    found = striate.cost(network, (3, 224, 224), mode="training", **options)
    assert found.peak.size / 1e6 == pytest.approx(megabytes, rel=0.002)


def test_the_layout_asked_for_counts_and_not_the_networks() -> None:
    network = striate.create_model("resnet18", num_classes=10)
    peaks = {
        last: striate.cost(network, (3, 96, 96), batch_size=8, mode="training", channels_last=last).peak.size
        for last in (True, False)
    }
    assert peaks[True] != peaks[False]
    other: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert (
        striate.cost(other, (3, 96, 96), batch_size=8, mode="training", channels_last=False).peak.size == peaks[False]
    )


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 1 image or more"):
        striate.cost(nn.Flatten(), (3, 8, 8), batch_size=0)
    with pytest.raises(UsageError, match="an input shape of positive numbers; received \\(3, 0, 8\\)"):
        striate.cost(nn.Flatten(), (3, 0, 8))
    with pytest.raises(UsageError, match="1 to 4 micro-batches of a batch of 4; received 5"):
        striate.cost(nn.Flatten(), (3, 8, 8), batch_size=4, mode="training", micro_batches=5)
    with pytest.raises(UsageError, match="one tensor, to train it; received tuple"):
        striate.cost(nn.LSTM(8, 16), (5, 8), mode="training")
