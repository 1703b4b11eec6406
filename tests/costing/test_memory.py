"""Predicted peaks against what the profiler measures, and against figures that others measured."""

from typing import Any

import pytest
import torch
from torch import nn

import odd_networks
from measured import measured
from odd_networks import ODD
from striate.costing.devices.cpu import cpu
from striate.costing.devices.device import Device
from striate.costing.memory import INSIDE, Moment, find_peak, timeline
from striate.errors import StriateError
from striate.graph.programs import Inference, Training
from striate.graph.trace import trace
from striate.jobs.cost import cost_of_model
from striate.jobs.programs import ModelProgram, Settings, find_program
from striate.jobs.usage import parse_input

CASES = [
    ("lenet5", "momentum", 2, 32, False),
    ("alexnet_28", "inference", 1, 28, False),
    ("squeezenet1_0", "momentum", 2, 96, True),
    ("googlenet", "momentum", 4, 96, False),
    ("resnet18", "adam", 8, 96, False),
    ("resnet50", "sgd", 4, 128, True),
    ("resnet50", "inference", 4, 128, False),
    ("seresnet18", "momentum", 8, 96, True),
    ("xception", "inference", 4, 96, True),
    ("mobilenet_v2", "adam", 4, 128, False),
]


def program_of(model: str, what: Any, batch: int, side: int, channels_last: bool) -> ModelProgram:
    optimizer: Any = "momentum" if what == "inference" else what
    mode: Any = "inference" if what == "inference" else "training"
    settings = Settings(batch, mode, optimizer, channels_last=channels_last)
    return find_program(model, settings, image_size=(side, side), num_classes=10)


# Networks of many operators are left to the slow tests, and to the benchmark of the whole zoo.
SLOW = ("googlenet", "xception", "mobilenet_v2")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow if case[0] in SLOW else ()) for case in CASES],
    ids=lambda case: "-".join(map(str, case)),
)
def test_the_predicted_peak_is_the_measured_one(case: tuple[str, Any, int, int, bool]) -> None:
    program = program_of(*case)
    predicted = cost_of_model(program).peak.size
    # Scratch in proportion to the channels, a few kB, is not predicted.
    assert predicted == pytest.approx(measured(program), rel=0.005, abs=4096)


ODD_CASES: list[tuple[str, dict[str, Any]]] = [
    ("UNet", {"mode": "training", "micro_batches": 3, "channels_last": False}),
    ("Dense", {"mode": "training", "amp_dtype": "bfloat16"}),
    ("generator", {"mode": "training", "channels_last": False}),
    ("volume", {}),
    ("Attention", {}),
    ("Recurrent", {"mode": "training"}),
    ("Words", {"mode": "training", "optimizer": "adam"}),
    ("Recomputed", {"mode": "training", "optimizer": None}),
    ("Own", {"mode": "training", "optimizer": "adam"}),
]


SLOW_ODD = ("generator", "volume", "Attention", "Words", "Own")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow if case[0] in SLOW_ODD else ()) for case in ODD_CASES],
    ids=lambda case: case[0],
)
def test_so_is_that_of_networks_that_are_odd(case: tuple[str, dict[str, Any]]) -> None:
    name, settings = case
    inputs = tuple(parse_input(shape) for shape in ODD[name][1])
    program = ModelProgram(f"{odd_networks.__file__}:{name}", inputs, Settings(4, **settings))
    predicted = cost_of_model(program).peak.size
    assert predicted == pytest.approx(measured(program), rel=0.01)


def exercise() -> nn.Sequential:
    """Three 3x3 convolutions with a stride of 2, 100, 200 and 400 maps, as a textbook's exercise has them."""
    layers = nn.Sequential()
    for before, after in ((3, 100), (100, 200), (200, 400)):
        layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1)).append(nn.ReLU())
    return layers


def exercise_peak(batch: int, layout: torch.memory_format, training: bool) -> Moment:
    network: nn.Module = exercise().to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.zeros(batch, 3, 200, 300, device="meta").contiguous(memory_format=layout)
    program = Training(network, [images], [], lambda output: output.sum()) if training else Inference(network, [images])
    return find_peak(timeline(trace(program), cpu()))


@pytest.mark.parametrize(
    ("batch", "layout", "training", "megabytes"),
    [
        (1, torch.contiguous_format, False, 21.0),
        (50, torch.channels_last, True, 943.2),
        (50, torch.contiguous_format, True, 1392.5),
    ],
)
def test_the_textbooks_exercise_takes_what_was_measured(
    batch: int, layout: torch.memory_format, training: bool, megabytes: float
) -> None:
    assert exercise_peak(batch, layout, training).size / 1e6 == pytest.approx(megabytes, rel=0.005)


def test_the_exercises_peak_is_at_the_first_activations_gradient() -> None:
    """Its output, the gradient that comes and the one that goes: 300 MB each."""
    peak = exercise_peak(50, torch.channels_last, True)
    assert (peak.phase, peak.layer, peak.operator) == ("backward", "1", "aten.threshold_backward.default")
    assert sum(peak.by.values()) == peak.size
    assert peak.by["parameters"] == 4 * 903_400
    assert peak.by["inputs"] == 50 * 3 * 200 * 300 * 4
    assert INSIDE not in peak.by


def test_what_does_not_fit_is_known_and_not_run() -> None:
    program = program_of("vgg16", "adam", 2048, 224, True)
    predicted = cost_of_model(program).peak.size
    assert predicted > 100e9
    with pytest.raises(StriateError, match=r"expected 1\d\d\.\d\d GB .* to run vgg16, .* of free memory"):
        program.measure(predicted)


def test_a_timeline_is_what_lives_and_what_an_operator_takes_inside() -> None:
    graph = trace(Inference(nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), [torch.zeros(1, 2, 2, 2)]))
    plain = timeline(graph, cpu())
    sizes = [sum(storage.size for storage in graph.alive_at(index)) for index in range(len(graph.operators))]
    assert [moment.size for moment in plain] == sizes
    device = Device(
        "odd", lambda size: 2 * size, lambda _operator, _graph: 7, lambda _graph: [], lambda _graph: {"fixed": 100}
    )
    assert [moment.size for moment in timeline(graph, device)] == [2 * moment.size + 107 for moment in plain]
    assert all(sum(moment.by.values()) == moment.size for moment in plain)
