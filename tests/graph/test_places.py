"""Gradients of what was picked by its place: seen out of place, and in place when nobody looks.

Run as a program, this file prints what a step of training with each of them takes.
"""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from striate.costing.devices.cpu import cpu
from striate.costing.memory import find_peak, timeline
from striate.costing.verify import measure_peak
from striate.graph.programs import Training
from striate.graph.trace import trace

PLACES = torch.arange(300) * 7 % 500

PICKS: dict[str, Callable[[Tensor], Tensor]] = {
    "gather": lambda x: x.gather(0, PLACES[:, None].expand(-1, 64)),
    "index": lambda x: x[PLACES],
    "index_select": lambda x: x.index_select(0, PLACES),
    "take": lambda x: x.take(PLACES),
    "topk": lambda x: x.topk(30, 0).values,
    "max": lambda x: x.max(0).values,
    "sort": lambda x: x.sort(0).values[:10],
}


class Picking(nn.Module):
    """A dense layer, and a part of what it makes."""

    def __init__(self, pick: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.enter, self.pick = nn.Linear(64, 64), pick

    def forward(self, x: Tensor) -> Tensor:
        return self.pick(self.enter(x))


def step(name: str) -> Training:
    return Training(Picking(PICKS[name]), [torch.randn(1000, 64)], [], lambda output: output.square().mean())


@pytest.fixture(scope="module")
def measured() -> dict[str, int]:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=300, check=True)
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures


@pytest.mark.parametrize("name", PICKS)
def test_the_predicted_peak_is_the_measured_one(name: str, measured: dict[str, int]) -> None:
    assert find_peak(timeline(trace(step(name)), cpu())).size == pytest.approx(measured[name], rel=0.01)


if __name__ == "__main__":
    print(json.dumps({name: measure_peak(step(name), "cpu") for name in PICKS}))
