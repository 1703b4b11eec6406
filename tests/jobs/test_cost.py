"""What the program says a network costs, against closed forms and what was measured."""

import subprocess
import sys
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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("mode='train'", "mode as one of inference, training; received 'train'. Did you mean training?"),
        ("mode='training', optimizer='adamm'", "received 'adamm'. Did you mean adam"),
        ("amp_dtype='int8'", "amp_dtype as one of bfloat16, float16, None; received 'int8'"),
    ],
)
def test_names_that_are_not_known_are_refused(settings: str, said: str) -> None:
    """In a process of its own, since the tests' own check of types would refuse them first."""
    code = f"import striate, torch\nstriate.cost(torch.nn.Flatten(), (3, 8, 8), {settings})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said in done.stderr


def test_a_loss_and_arguments_of_ones_own() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.image = nn.Embedding(100, 8), nn.Conv2d(3, 8, 3)

        def forward(self, words: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.words(words).mean(1), self.image(image).mean((2, 3))

    def distance(output: tuple[torch.Tensor, torch.Tensor], scale: torch.Tensor) -> torch.Tensor:
        return ((output[0] - output[1]) * scale).square().mean()

    words, image = torch.zeros(5, 7, dtype=torch.int64, device="meta"), torch.zeros(5, 3, 9, 9, device="meta")
    scale = torch.zeros(5, 1, device="meta")
    found = striate.cost(Pair(), [words, image], mode="training", optimizer="adam", loss=distance, targets=[scale])
    assert found.peak.by["inputs"] == 5 * 7 * 8 + 4 * (5 * 3 * 9 * 9) + 4 * 5
    assert found.evaluation is not None
    assert found.macs == 5 * (3 * 3 * 3 * 8 * 7 * 7) + 5 * (8 * 7) + 5 * (8 * 7 * 7)


def test_micro_batches_take_less_and_cost_as_many_multiply_adds() -> None:
    with torch.device("meta"):
        network = striate.create_model("resnet18", num_classes=10)
    found = {
        parts: striate.cost(network, (3, 224, 224), batch_size=8, mode="training", micro_batches=parts)
        for parts in (1, 2, 4, 8)
    }
    assert [found[parts].peak.size for parts in found] == sorted(
        (one.peak.size for one in found.values()), reverse=True
    )
    assert len({one.macs for one in found.values()} | {one.textbook.total_bytes for one in found.values()}) == 2
    assert len({one.backward_macs for one in found.values()}) == 1


def test_auxiliary_heads_are_trained_as_they_would_be() -> None:
    with torch.device("meta"):
        network = striate.create_model("googlenet", num_classes=10, aux_heads=True)
    trained = striate.cost(network, (3, 224, 224), batch_size=2, mode="training")
    assert {"aux1", "aux2"} <= {layer.name.partition(".")[0] for layer in trained.layers if layer.macs}
    assert sum(layer.parameters for layer in trained.layers) == trained.parameters


def test_validation_holds_the_optimizers_state_but_no_gradients() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(300, 100))
    weights = 4 * (300 * 100 + 100)
    predicted = striate.cost(network, (3, 10, 10), batch_size=4).peak.size
    for optimizer, states in (("sgd", 0), ("momentum", 1), ("adam", 2)):
        found = striate.cost(network, (3, 10, 10), batch_size=4, mode="training", optimizer=optimizer)
        assert found.evaluation is not None
        assert abs(found.evaluation - predicted - states * weights) < 100
    assert striate.cost(network, (3, 10, 10)).evaluation is None
