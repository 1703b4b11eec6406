"""Our closed forms against torch's schedulers, which step along."""

from typing import Any

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from striate.training.config import TrainConfig
from striate.training.schedules import rate_at

PER_EPOCH, EPOCHS = 7, 6


def ours(**options: Any) -> list[float]:
    config = TrainConfig(data="digits", model="lenet5", epochs=EPOCHS, lr=0.4, **options)
    return [rate_at(config, step, PER_EPOCH) for step in range(PER_EPOCH * EPOCHS)]


def theirs(kind: Any, **options: Any) -> list[float]:
    optimizer = SGD([torch.zeros(1, requires_grad=True)], 0.4)
    scheduler = kind(optimizer, **options)
    rates = []
    for _ in range(PER_EPOCH * EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_is_torchs() -> None:
    assert ours(sched="cosine") == pytest.approx(theirs(lr_scheduler.CosineAnnealingLR, T_max=PER_EPOCH * EPOCHS))


def test_onecycle_is_torchs() -> None:
    cycle = theirs(lr_scheduler.OneCycleLR, max_lr=0.4, total_steps=PER_EPOCH * EPOCHS + 1, cycle_momentum=False)
    reference = theirs(lr_scheduler.OneCycleLR, max_lr=0.4, total_steps=PER_EPOCH * EPOCHS, cycle_momentum=False)
    assert ours(sched="onecycle") == pytest.approx(reference)
    assert ours(sched="onecycle") != pytest.approx(cycle)


def test_step_is_torchs() -> None:
    reference = theirs(lr_scheduler.StepLR, step_size=2 * PER_EPOCH, gamma=0.3)
    assert ours(sched="step", decay_epochs=2, decay_rate=0.3) == pytest.approx(reference)


def test_constant_stays() -> None:
    assert set(ours(sched="constant")) == {0.4}


def test_warmup_rises_in_a_line_and_the_schedule_begins_at_the_full_rate_after_it() -> None:
    rates = ours(sched="cosine", warmup_epochs=2)
    assert rates[:14] == pytest.approx([0.4 * n / 15 for n in range(1, 15)])
    rest = TrainConfig(data="digits", model="lenet5", epochs=EPOCHS - 2, lr=0.4, sched="cosine")
    assert rates[14:] == pytest.approx([rate_at(rest, step, PER_EPOCH) for step in range(PER_EPOCH * 4)])


@pytest.mark.parametrize("sched", ["constant", "cosine", "onecycle", "step"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_runs_of_one_step_have_a_rate_too(sched: str, epochs: int) -> None:
    config = TrainConfig.model_validate({"data": "d", "model": "m", "epochs": epochs, "lr": 1, "sched": sched})
    assert all(0 <= rate_at(config, step, 1) <= 1 for step in range(epochs))
