"""What the program says a network costs, against closed forms and what was measured."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

import striate
from striate.errors import StriateError, UsageError
from striate.training.config import OptimizerName


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
    with pytest.raises(UsageError, match="an input shape of positive numbers, .*; received \\(3, 0, 8\\)"):
        striate.cost(nn.Flatten(), (3, 0, 8))
    with pytest.raises(UsageError, match="1 to 4 micro-batches of a batch of 4; received 5"):
        striate.cost(nn.Flatten(), (3, 8, 8), batch_size=4, mode="training", micro_batches=5)
    with pytest.raises(UsageError, match="depends on its parameters, to train it; received int"):
        striate.cost(Returns(3), (5, 8), mode="training")
    with pytest.raises(UsageError, match="parameters that want a gradient, to train it; received Flatten"):
        striate.cost(nn.Flatten(), (3, 8, 8), mode="training")
    with pytest.raises(UsageError, match="or tensors with a batch"):
        mixed: Any = [torch.zeros(2, 3), 8]
        striate.cost(nn.Flatten(), mixed)
    with pytest.raises(StriateError, match="hold all of their elements; received a sparse_coo one in aten"):
        striate.cost(nn.Embedding(10, 4, sparse=True), torch.zeros(2, 3, dtype=torch.int64), mode="training")


class Returns(nn.Module):
    """Returns a thing, whatever it is given."""

    def __init__(self, thing: Any) -> None:
        super().__init__()
        self.thing, self.weight = thing, nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> Any:
        return self.thing


def test_of_several_outputs_the_means_are_learned_from() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 3), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            return {"a": self.a(x), "rest": [self.b(x).relu(), 5]}

    found = striate.cost(Two(), (8,), batch_size=2, mode="training")
    assert found.backward_macs == 2 * 8 * 3 + 2 * 8 * 4


def test_a_network_that_does_nothing_holds_its_input() -> None:
    assert striate.cost(nn.Sequential(), (3, 8, 8), batch_size=2).peak.size == 4 * 2 * 3 * 8 * 8


def test_neither_the_network_nor_what_is_around_it_matters() -> None:
    """What it keeps of the tensors that it meets is as before, and other contexts do not leak in."""

    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.cache: torch.Tensor | None = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.conv(x)
            if self.cache is None:
                self.cache = torch.ones(4, 1, 1)
                self.register_buffer("late", torch.zeros(4, 1, 1))
            return made + self.cache

    for network in (Keeps(), nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)))):
        first = striate.cost(network, (3, 8, 8), mode="training", batch_size=2).peak.size
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert striate.cost(network, (3, 8, 8), mode="training", batch_size=2).peak.size == first
        with torch.inference_mode():
            assert striate.cost(network, (3, 8, 8), mode="training", batch_size=2).peak.size == first
        assert type(network(torch.zeros(1, 3, 8, 8))) is torch.Tensor


def test_weights_that_share_memory_are_there_once() -> None:
    tied, shared = (nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)) for _ in range(2))
    tied[1].weight = tied[0].weight
    shared[1].weight = nn.Parameter(shared.get_parameter("0.weight").data)
    apart = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    peaks = [striate.cost(network, (64,)).peak.by["parameters"] for network in (tied, shared, apart)]
    assert peaks == [4 * 64 * 64, 4 * 64 * 64, 2 * 4 * 64 * 64]
    trained = striate.cost(tied, (64,), mode="training", optimizer="adam")
    assert abs(trained.peak.by["optimizer state"] - 2 * 4 * 64 * 64) < 100


def test_what_is_frozen_or_unused_has_neither_gradient_nor_state() -> None:
    network = nn.ModuleDict({"used": nn.Linear(64, 64), "frozen": nn.Linear(64, 64), "unused": nn.Linear(64, 64)})
    network["frozen"].requires_grad_(False)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.parts["frozen"](self.parts["used"](x))
            return made

    one = 4 * (64 * 64 + 64)
    found = striate.cost(Net(), (64,), mode="training", optimizer="adam")
    assert found.peak.by["parameters"] == 3 * one
    assert abs(found.peak.by["optimizer state"] - 2 * one) < 100
    assert max(moment.by.get("gradients", 0) for moment in found.timeline) == one


def test_names_that_are_not_known_are_refused() -> None:
    """In a process of its own, since the tests' own check of types would refuse them first."""
    settings = [{"mode": "train"}, {"mode": "training", "optimizer": "adamm"}, {"amp_dtype": "int8"}]
    code = (
        "import striate, torch\n"
        f"for settings in {settings}:\n"
        "    try: striate.cost(torch.nn.Flatten(), (3, 8, 8), **settings)\n"
        "    except Exception as refused: print(refused)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    mode, optimizer, dtype = done.stdout.splitlines()
    assert "mode as one of inference, training; received 'train'. Did you mean training?" in mode
    assert "received 'adamm'. Did you mean adam" in optimizer
    assert "amp_dtype as one of bfloat16, float16, None; received 'int8'" in dtype


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
    counts: list[tuple[OptimizerName, int]] = [("sgd", 0), ("momentum", 1), ("adam", 2)]
    for optimizer, states in counts:
        found = striate.cost(network, (3, 10, 10), batch_size=4, mode="training", optimizer=optimizer)
        assert found.evaluation is not None
        assert abs(found.evaluation - predicted - states * weights) < 100
    assert striate.cost(network, (3, 10, 10)).evaluation is None
