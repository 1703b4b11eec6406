"""``striate train``."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.options import with_flags
from striate.jobs.usage import train_config
from striate.training.config import TrainConfig, read_config, read_recipe

if TYPE_CHECKING:
    from striate.jobs.train import TrainRecord


@with_flags(TrainConfig, short={"batch_size": "-b", "workers": "-j"}, leave_out=("data",))
def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="folder of images, CSV table, folder of idx files, or a name such as mnist", show_default=False
        ),
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
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
    flags: dict[str, Any],
) -> None:
    """Train a network on images, and test it once at the end.

    A run folder keeps its settings, its epochs, its weights and a report. Killed at any moment, it goes on with
    --resume.
    """
    wanted = train_config(
        read_recipe(recipe) if recipe else {},
        read_config(config) if config else {},
        flags if data is None else flags | {"data": data},
        resume=resume,
    )

    from rich.console import Console

    from striate.cli.progress import show_training
    from striate.jobs.train import train as job
    from striate.training.group import Group

    if not Group.here().is_first:
        for _ in job(wanted, resume=resume):
            pass  # The first process tells.
        return
    err = Console(stderr=True)
    if not as_json:
        show_training(job(wanted, resume=resume), Console(), err)
        return
    document: dict[str, Any] = {"epochs": []}
    show_training(_collect(job(wanted, resume=resume), document), err, err)
    print(json.dumps(document, indent=2))


def _collect(records: "Iterable[TrainRecord]", document: dict[str, Any]) -> "Iterator[TrainRecord]":
    """Pass records on, and put what outlasts the run into ``document``."""
    from striate.costing.layers import total_parameters
    from striate.jobs.train import Finished, Started
    from striate.training.records import EpochRecord

    for record in records:
        match record:
            case Started():
                document |= {
                    "model": record.model,
                    "parameters": total_parameters(record.layers),
                    "layers": [asdict(layer) for layer in record.layers],
                }
            case EpochRecord():
                document["epochs"].append(record.row())
            case Finished():
                document |= {
                    "run": str(record.folder),
                    "best_epoch": record.best_epoch,
                    record.part: dict(record.metrics),
                    "seconds": record.seconds,
                    "report": str(record.report),
                }
        yield record
