"""Times that are measured on this machine, and their cache."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from planned import RATES, deep, training
from striate.costing.devices.cpu import cpu
from striate.graph.programs import Training
from striate.graph.timing import Timed
from striate.graph.trace import trace
from striate.jobs import operator_times
from striate.jobs.operator_times import measured_times
from striate.planning.times import Times


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        operator_times, "STEADY", float("inf")
    )  # These steps take no time, and other tests run besides.
    return tmp_path / "striate" / "times"


def test_what_was_measured_while_something_else_ran_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_times, "STEADY", 1.0)  # No two runs take the same.
    assert sorted(measure(on_meta(deep)).measured) == [2, 8]
    assert not cache.exists()


def on_meta(network: Callable[[], nn.Module], batch: int = 16) -> Training:
    with torch.device("meta"):
        return training(network(), batch)


def measure(program: Training, limit: int = 10**9) -> Times:
    return measured_times(program, RATES, cpu(), "cpu", limit, None)


def test_a_few_images_are_measured_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(measure(on_meta(deep, 3)).measured) == [1, 3]
    found = measure(on_meta(deep))
    assert sorted(found.measured) == [2, 8]
    graph = trace(on_meta(deep))
    names = [operator.name for operator in graph.operators if not operator.view]
    assert all([one.name for one in timed] == names for timed in found.measured.values())
    assert found.of(graph, 16)[1]
    assert len(list(cache.iterdir())) == 4

    def refuse(*_: object) -> list[Timed]:
        raise AssertionError("measured again")

    monkeypatch.setattr(operator_times, "time_operators", refuse)
    assert measure(on_meta(deep, 64)) == found  # Of any larger batch.
    assert measure(on_meta(lambda: deep(width=9))).measured == {}


def changed(change: Callable[[nn.Conv2d], None]) -> nn.Sequential:
    network = deep()
    assert isinstance(network[0], nn.Conv2d)
    change(network[0])
    return network


def stride(convolution: nn.Conv2d) -> None:
    convolution.stride = (2, 2)


def dilation(convolution: nn.Conv2d) -> None:
    convolution.dilation = convolution.padding = (2, 2)


@pytest.mark.parametrize("change", [stride, dilation])
def test_other_steps_are_others_even_with_the_same_weights(cache: Path, change: Callable[[nn.Conv2d], None]) -> None:
    measure(on_meta(deep))
    measure(on_meta(lambda: changed(change)))
    assert len(list(cache.iterdir())) == 4


def test_16_bit_floats_are_measured_by_themselves(cache: Path) -> None:
    measure(on_meta(deep))
    program = on_meta(lambda: deep().bfloat16())
    measure(program.with_given([program.inputs[0].bfloat16(), *program.targets]))
    with torch.device("meta"):
        measure(training(deep(), 16, amp="bfloat16"))
    assert len(list(cache.iterdir())) == 6


def test_what_cannot_be_read_is_measured_again(cache: Path) -> None:
    found = measure(on_meta(deep))
    for text in ("", "{}", json.dumps([["forward", "x"]]), json.dumps([["nowhere", "x", 1]])):
        for path in cache.iterdir():
            path.write_text(text)
        assert measure(on_meta(deep)).measured.keys() == found.measured.keys()


class Refusing(nn.Linear):
    """Looks at values, and does not like those that were made up."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not x.is_meta and type(x) is torch.Tensor:
            raise ArithmeticError
        return super().forward(x)


def test_a_network_that_cannot_be_run_is_estimated(cache: Path) -> None:
    found = measure(on_meta(lambda: nn.Sequential(nn.Flatten(), Refusing(768, 5))))
    assert found.measured == {}


def test_nothing_is_run_that_does_not_fit(cache: Path) -> None:
    assert measure(on_meta(deep), 1000).measured == {}
    assert not cache.exists()


def test_a_network_that_refuses_single_images_is_measured_with_more(cache: Path) -> None:
    normed = measure(on_meta(lambda: nn.Sequential(deep(2), nn.BatchNorm1d(5), nn.Linear(5, 5)), 4))
    assert list(normed.measured) == [4]


def test_the_network_and_the_random_state_are_left_as_they_are(cache: Path) -> None:
    torch.manual_seed(3)
    network = deep()
    before, state = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    measure(training(network))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_that_are_shared_stay_so(cache: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(48, 48)
            self.second = nn.Linear(48, 48)
            self.second.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.second(self.first(x.flatten(1)[:, :48]))
            return made

    program = on_meta(Twice)
    assert len(list(operator_times._materialised(program, "cpu", None).network.parameters())) == 3
    graph = trace(program)
    assert measure(program).of(graph, 16)[1]
