"""Runs on a CUDA card: they learn, go on, keep to their budgets, and take less when the card is full."""

import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from striate.errors import StriateError
from striate.files import load_tensors
from striate.jobs.train import Finished, Started, train
from striate.planning.plan import Plan, read_plan
from striate.training.checkpoint import load_generation
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder, Summary
from striate.training.records import EpochRecord

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("card")]

QUICK: dict[str, Any] = {"data": "digits", "model": "lenet5", "epochs": 3, "opt": "adamw", "lr": 3e-3}
ALEXNET: dict[str, Any] = {"data": "digits", "model": "alexnet_28", "epochs": 1, "opt": "adam", "lr": 1e-3}
BETTER_THAN_GUESSED = 0.5


def config(folder: Path, **options: Any) -> TrainConfig:
    return TrainConfig.model_validate({"device": "cuda", "output": str(folder), **options})


def run(folder: Path, **options: Any) -> list[Any]:
    return list(train(config(folder, **options)))


def begun(records: Iterable[Any]) -> Started:
    return next(record for record in records if isinstance(record, Started))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_tensors(RunFolder(folder).last / "model.safetensors"))


def test_lenet_learns_digits(tmp_path: Path) -> None:
    *_, finished = run(tmp_path / "run", **QUICK)
    assert isinstance(finished, Finished)
    assert finished.metrics["accuracy"] > 0.9
    summary = RunFolder(tmp_path / "run").read_summary()
    assert summary is not None
    assert summary.device == torch.cuda.get_device_name()


@pytest.mark.parametrize(
    "options",
    [
        {"amp": True, "amp_dtype": "float16"},
        {"amp": True, "amp_dtype": "float16", "clip_grad": 1.0},
        {"amp": True},
        {"dtype": "bfloat16", "master_weights": True},
        {"average": "ema", "mixup": 0.2},
        {"channels_last": False},
        {"opt": "momentum", "lr": 0.02, "workers": 2},
        {"opt": "nadam", "sync_bn": True, "model": "mobilenet_v2", "image_size": 32, "epochs": 1},
    ],
    ids=str,
)
def test_it_learns_in_other_ways_too(tmp_path: Path, options: dict[str, Any]) -> None:
    *_, finished = run(tmp_path / "run", **{**QUICK, **options})
    assert isinstance(finished, Finished)
    if options.get("model", "lenet5") == "lenet5":
        assert finished.metrics["accuracy"] > BETTER_THAN_GUESSED


@pytest.mark.parametrize("options", [{}, {"amp": True, "amp_dtype": "float16"}], ids=str)
def test_a_run_that_was_cut_off_goes_on(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    *_, whole = run(tmp_path / "whole", **QUICK, **options)
    records = train(config(tmp_path / "run", **QUICK, **options))
    first = next(record for record in records if isinstance(record, EpochRecord))
    assert isinstance(records, Generator)
    records.close()
    assert first.epoch == 1
    generation = load_generation(RunFolder(tmp_path / "run").resume, clear=False)
    assert generation is not None
    assert ("scale" in generation.optimizer["precision"]) == bool(options)  # float16's, that losses are scaled by.
    *between, finished = train(resume=tmp_path / "run")
    started = begun(between)
    assert started.step == started.steps // 3
    assert [record.epoch for record in between if isinstance(record, EpochRecord)] == [2, 3]
    assert isinstance(finished, Finished)
    assert finished.metrics["accuracy"] == pytest.approx(whole.metrics["accuracy"], abs=0.02)
    ours, theirs = weights(tmp_path / "run"), weights(tmp_path / "whole")
    for name, value in theirs.items():
        assert torch.allclose(ours[name], value, atol=1e-2), name


def test_what_a_card_learned_predicts_on_the_cpu(tmp_path: Path, program: Any) -> None:
    learned = program("train", "digits", "--model", "lenet5", "--device", "cuda", "--epochs", "1", "--output", "run")
    assert learned.returncode == 0, learned.stderr
    predicted = program("predict", "run", "digits", "--limit", "2")
    assert predicted.returncode == 0, predicted.stderr
    assert program("val", "run", "digits").returncode == 0


def test_a_run_within_a_budget_takes_no_more_and_learns_the_same(
    striate: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """In processes of their own: a card's peak counts whatever else a process has there."""

    def summary_of(name: str, memory: str) -> tuple[Summary, Plan]:
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in {**ALEXNET, "batch_size": 256}.items()]
        data, others = flags[0].partition("=")[2], flags[1:]
        done = striate(
            *("train", data, *others, "--device=cuda", "--lossless", f"--memory={memory}", f"--output={name}")
        )
        assert done.returncode == 0, done.stderr
        summary = RunFolder(tmp_path / name).read_summary()
        assert summary is not None
        return summary, read_plan(tmp_path / name / "plan.json")

    plain, whole = summary_of("plain", "80%")
    assert not whole.recompute
    assert whole.is_measured  # Its operators' times, on the card.
    planned, plan = summary_of("planned", str(int(0.8 * whole.plain_bytes)))
    assert plan.recompute or plan.optimizer_in_backward
    assert planned.peaks.keys() == {"training", "validation"}
    assert max(planned.peaks.values()) <= plan.budget_bytes
    assert planned.peaks["training"] == pytest.approx(plan.peak_bytes, rel=0.03)
    assert planned.metrics["accuracy"] == pytest.approx(plain.metrics["accuracy"], abs=0.05)


def test_a_network_is_compiled(striate: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    """In a process of its own: what checks types in the tests cannot be compiled."""
    done = striate("train", "digits", "--model=lenet5", "--epochs=3", "--device=cuda", "--compile", "--output=run")
    assert done.returncode == 0, done.stderr
    summary = RunFolder(tmp_path / "run").read_summary()
    assert summary is not None
    assert summary.metrics["accuracy"] > BETTER_THAN_GUESSED


def allow(size: int) -> None:
    """Let torch have so many bytes of the card, and no more."""
    torch.cuda.set_per_process_memory_fraction(size / torch.cuda.get_device_properties(0).total_memory)


LITTLE = """
import sys, torch
from striate.jobs.train import Started, train
from striate.training.config import TrainConfig
records = train(TrainConfig.model_validate_json(sys.argv[1]))
plan = next(record for record in records if isinstance(record, Started)).plan
allowed = 0.8 * plan.peak_bytes
torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
*_, finished = records
print(plan.peak_bytes, finished.epochs)
"""


def test_where_the_card_is_full_a_run_takes_less(tmp_path: Path) -> None:
    wanted = config(tmp_path / "run", memory="80%", **ALEXNET, batch_size=648)
    command = [sys.executable, "-c", LITTLE, wanted.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    peak, epochs = map(int, done.stdout.split()[-2:])
    assert epochs == 1
    after = read_plan(tmp_path / "run" / "plan.json")
    assert after.peak_bytes <= after.budget_bytes < peak


def test_without_a_plan_it_says_how_to_get_one(tmp_path: Path) -> None:
    records = train(config(tmp_path / "run", **ALEXNET, batch_size=648))
    begun(records)
    allow(200 * 2**20)
    with pytest.raises(StriateError, match="Give --memory 80%"):
        list(records)
