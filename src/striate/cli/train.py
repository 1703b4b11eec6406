"""``striate train``."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.options import with_flags
from striate.training.config import TrainConfig, load_config, read_config, read_recipe

if TYPE_CHECKING:
    from striate.jobs.train import Finished, Started, TrainRecord


@with_flags(TrainConfig, short={"batch_size": "-b", "workers": "-j"}, leave_out=("data",))
def train(
    data: Annotated[
        str | None, typer.Argument(help="folder with MNIST-style idx files, or an embedded set: digits", show_default=False)
    ] = None,
    *,
    recipe: Annotated[
        str | None, typer.Option(help="a config that ships with striate, such as lenet5-digits", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="YAML file of flags; flags given here win", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="go on with an interrupted run, as if it had not been", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
    flags: dict[str, Any],
) -> None:
    """Train a network on images, and test it once at the end.

    A run folder keeps its settings, its epochs, its weights and a report. Killed at any moment, it goes on with --resume.
    """
    given = flags | ({} if data is None else {"data": data})
    layers = [read_recipe(recipe)] if recipe else []
    layers += [read_config(config)] if config else []
    if resume is None:
        wanted = load_config(*layers, given)

    from striate.jobs import train as job

    if resume is not None:
        wanted = job.resumed_config(resume, {key: value for layer in (*layers, given) for key, value in layer.items()})
    records = job.train(wanted, resume=resume)
    if json:
        _print_json(records)
    else:
        _print_progress(records)


def _print_progress(records: "Iterable[TrainRecord]") -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from striate.jobs.train import Finished, Started
    from striate.training.records import EpochRecord, StepRecord

    out, err = Console(), Console(stderr=True)
    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps, loss {task.fields[loss]:.4f},"),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("train", total=None, visible=False, epoch=1, loss=0.0)
        for record in records:
            match record:
                case Started():
                    _print_network(record)
                    progress.update(bar, total=record.steps, completed=record.step, visible=True)
                case StepRecord():
                    progress.update(bar, completed=record.step, epoch=record.epoch, loss=record.loss)
                case EpochRecord():
                    metrics = ", ".join(f"{name} {value:.4f}" for name, value in record.metrics.items())
                    err.print(
                        f"epoch {record.epoch:>3}/{record.epochs}  training loss {record.train_loss:.4f}  validation "
                        f"{metrics}  {record.images_per_second:,.0f} images/s{'  best' if record.best else ''}",
                        highlight=False,
                        soft_wrap=True,
                    )
                case Finished():
                    progress.update(bar, visible=False)
                    _print_end(out, record)


def _print_network(record: "Started") -> None:
    from rich.console import Console

    from striate.cli.tables import network_table
    from striate.units import format_bytes

    out = Console()
    total = sum(layer.parameters for layer in record.layers)
    out.print(network_table(record.model, record.layers))
    train, val, test = record.images
    for line in (
        f"{total:,} parameters, {format_bytes(4 * total)} as 32-bit floats",
        f"{len(record.classes)} classes; {train:,} images to train on, {val:,} to validate, {test:,} to test",
        f"{record.steps:,} steps, {record.threads} threads; {f'goes on after step {record.step:,}' if record.step else 'run'}"
        f" in {record.folder}",
    ):
        out.print(line, highlight=False, soft_wrap=True)


def _print_end(out: Any, record: "Finished") -> None:
    from striate.units import format_duration

    out.print(
        f"test accuracy {record.metrics['accuracy']:.2%} (weights of epoch {record.best_epoch} of {record.epochs}, "
        f"the best on validation), {format_duration(record.seconds)}\nreport: {record.report}",
        highlight=False,
        soft_wrap=True,
    )


def _print_json(records: "Iterable[TrainRecord]") -> None:
    import json
    from dataclasses import asdict

    from striate.jobs.train import Finished, Started
    from striate.training.records import EpochRecord

    document: dict[str, Any] = {"epochs": []}
    for record in records:
        match record:
            case Started():
                document |= {
                    "model": record.model,
                    "parameters": sum(layer.parameters for layer in record.layers),
                    "layers": [asdict(layer) for layer in record.layers],
                }
            case EpochRecord():
                document["epochs"].append(record.row())
            case Finished():
                document |= {
                    "run": str(record.folder),
                    "best_epoch": record.best_epoch,
                    "test": dict(record.metrics),
                    "seconds": record.seconds,
                    "report": str(record.report),
                }
    print(json.dumps(document, indent=2))
