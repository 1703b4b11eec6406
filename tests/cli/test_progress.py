"""What a run says of itself, where nobody looks at a bar."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from striate.cli.progress import show_training
from striate.costing.layers import layer_costs
from striate.jobs.train import Finished, Started
from striate.training.records import EpochRecord, StepRecord
from striate.zoo import create_model

STARTED = Started(
    folder=Path("runs/classify/here"),
    model="resnet18",
    layers=layer_costs(create_model("resnet18"), (3, 32, 32)),
    train_images=64,
    val_images=8,
    test_images=0,
    classes=("cat", "dog"),
    notes=(),
    step=0,
    steps=1,
    reads_files=True,
    threads=1,
    plan=None,
)
EPOCH = EpochRecord(
    epoch=1,
    epochs=3,
    step=1,
    lr=0.1,
    train_loss=0.5,
    metrics={"loss": 0.25, "accuracy": 0.875},
    best=True,
    seconds=1.0,
    images_per_second=64.0,
    waited=0.5,
)


def shown(*records: Started | StepRecord | EpochRecord | Finished) -> str:
    """Return what is printed on a terminal of 80 columns."""
    console = Console(file=StringIO(), width=80)
    show_training(records, console, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_layer_is_a_line_however_long_its_name() -> None:
    lines = shown(STARTED).splitlines()
    assert [lines[0], *lines[1].split()] == ["resnet18", "layer", "kind", "output", "parameters"]
    assert len({len(line) for line in lines[1:-3]}) == 1, "as wide as the widest, to the right edge of its numbers"
    assert len(lines) == 2 + len(STARTED.layers) + 3
    assert lines[6].split() == ["features.stage1.0.path.conv1.conv", "Conv2d", "64x8x8", "3·3·64·64", "=", "36,864"]
    assert lines[-1] == "begins: 1 step, 1 thread, in runs/classify/here"
    longer = shown(replace(STARTED, steps=2_000, threads=2)).splitlines()[-1]
    assert longer == "begins: 2,000 steps, 2 threads, in runs/classify/here"


def test_accuracy_is_a_share_in_each_epoch_and_at_the_end() -> None:
    end = Finished(Path("here"), 1, 1, "test", {"loss": 0.25, "accuracy": 0.875}, 61.0, Path("here/report.html"))
    epoch, test, report = shown(replace(EPOCH, waited=0.0), end).splitlines()
    assert epoch == "epoch 1/3  loss 0.5000  val loss 0.2500, accuracy 87.50%  64 img/s  best"
    assert test == "test accuracy 87.50% (weights of epoch 1 of 1, the best on validation), took 1 min 01 s"
    assert report == "report: here/report.html"


def test_waiting_for_images_is_said_once_and_not_where_they_are_in_memory() -> None:
    epochs = [replace(EPOCH, waited=0.05), *(replace(EPOCH, epoch=epoch) for epoch in (2, 3))]
    printed = shown(STARTED, *epochs)
    assert printed.count("waiting for images") == 1
    assert "\n  50% of that was waiting for images" in printed
    assert "waiting" not in shown(replace(STARTED, reads_files=False), *epochs)


def test_where_nobody_sees_a_bar_a_line_comes_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 25))
    monkeypatch.setattr("striate.cli.progress.time.monotonic", lambda: float(next(clock)))
    steps = [StepRecord(1, step, 8, 0.5, 0.1, 8) for step in range(1, 9)]
    lines = [line for line in shown(STARTED, *steps).splitlines() if line.startswith("epoch 1: ")]
    assert lines == ["epoch 1: 3/8 steps, loss 0.5000", "epoch 1: 6/8 steps, loss 0.5000"]
