"""The loop under a plan: parts of a batch add up to the batch, and each phase is measured once."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seen import centred
from striate.costing.verify import watched
from striate.data.sets import ImageTensors
from striate.planning.plan import Plan
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.loop import Loop
from striate.training.records import PeakRecord, StepRecord
from striate.training.tasks import Classification


def images(count: int) -> ImageTensors:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return ImageTensors(pixels, torch.randint(0, 2, (count,), generator=generator), ("dark", "bright"))


def plan(accumulate: int) -> Plan:
    return Plan(
        fits=True,
        budget_bytes=10**9,
        peak_bytes=10**6,
        plain_bytes=10**6,
        smallest_budget_bytes=10**5,
        relative_time=1.0,
        is_measured=False,
        batch_size=32,
        micro_batch=-(-32 // accumulate),
        accumulate=accumulate,
        evaluation_batch=7,
        evaluation_bytes=10**5,
        dtype="float32",
        amp_dtype=None,
        channels_last=True,
        recompute=(),
    )


def trained(folder: Path, planned: Plan | None, **options: Any) -> tuple[nn.Module, list[object], Loop]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 2)).double()
    values = {"data": "d", "model": "m", "epochs": 2, "batch_size": 32, "opt": "momentum"}
    config = TrainConfig.model_validate(values | options)
    data = images(90)
    task = Doubles(config, centred(1, 6), data.classes)
    task.prepare(data)

    def save(_which: str, _state: Mapping[str, Tensor]) -> None:
        pass

    loop = Loop(network, task, data, images(20), config, RunFolder(folder), save, plan=planned, watch=watched)
    return network, list(loop.run()), loop


class Doubles(Classification):
    """In 64 bits, so that the order of sums does not show."""

    def compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets.double())

    def loss(self, network: nn.Module, batch: object) -> Tensor:
        images: Tensor = batch.images.double()  # type: ignore[attr-defined]
        targets = nn.functional.one_hot(batch.labels, 2)  # type: ignore[attr-defined]
        return self.compare(network(images), targets)

    def score(self) -> "DoubleScore":  # type: ignore[override]
        return DoubleScore()


class DoubleScore:
    """How many batches there were, and of how many images."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def update(self, network: nn.Module, batch: object) -> Tensor:
        self.sizes.append(len(batch.labels))  # type: ignore[attr-defined]
        outputs: Tensor = network(batch.images.double())  # type: ignore[attr-defined]
        return outputs

    def compute(self) -> dict[str, float]:
        return {"loss": 0.0, "accuracy": 0.0, "largest": float(max(self.sizes))}


def test_parts_of_any_size_add_up_to_the_batch(tmp_path: Path) -> None:
    whole, records, _ = trained(tmp_path / "whole", None)
    losses = [record.loss for record in records if isinstance(record, StepRecord)]
    for size in (2, 5, 7):
        parts, others, _ = trained(tmp_path / str(size), plan(size))
        assert torch.allclose(
            torch.tensor([record.loss for record in others if isinstance(record, StepRecord)]), torch.tensor(losses)
        )
        for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-10)


def test_gradients_are_scaled_down_to_the_norm_that_is_allowed(tmp_path: Path) -> None:
    """A step of plain descent is as long as the rate times the gradients' norm."""
    torch.manual_seed(0)
    before = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 2)).double()
    options = {"opt": "sgd", "lr": 0.5, "sched": "constant", "epochs": 1, "batch_size": 90}

    def length(folder: str, **more: Any) -> float:
        after, _, _ = trained(tmp_path / folder, plan(3), **options, **more)
        pairs = zip(after.parameters(), before.parameters(), strict=True)
        return math.sqrt(sum(float((ours - theirs).detach().square().sum()) for ours, theirs in pairs))

    assert length("plain") > 0.5 * 0.02
    assert length("clipped", clip_grad=0.02) == pytest.approx(0.5 * 0.02, rel=1e-4)
    assert length("short", clip_grad=1e6) == length("again")


def test_each_phase_is_measured_once_and_validation_takes_its_own_batch(tmp_path: Path) -> None:
    _, records, loop = trained(tmp_path, plan(4))
    peaks = [record for record in records if isinstance(record, PeakRecord)]
    assert sorted(peak.phase for peak in peaks) == ["training", "validation"]
    assert all(0 < peak.measured < 10**6 for peak in peaks)
    assert loop.evaluate(loop.network, loop.val)["largest"] == 7
    assert not [record for record in trained(tmp_path / "plain", None)[1] if isinstance(record, PeakRecord)]
