"""A run to its end, told epoch by epoch: what the scripts that train share."""

from pathlib import Path

from record import append_row
from striate.jobs.train import Finished, TrainRecord, train
from striate.training.config import TrainConfig
from striate.training.records import EpochRecord
from striate.units import format_size


def finished(config: TrainConfig, folder: Path, name: str) -> Finished:
    """Train, or go on with what was cut off in ``folder``; ``name`` is what is printed of it."""
    last: TrainRecord | None = None
    for last in train(config, resume=folder if (folder / "args.yaml").exists() else None):
        if isinstance(last, EpochRecord):
            print(f"{name}, epoch {last.epoch}: {last.metrics}, {last.seconds:.0f} s", flush=True)
    assert isinstance(last, Finished)
    return last


def keep_figures(table: str, way: str, config: TrainConfig, record: Finished, **figures: object) -> None:
    """Append a row of what a run was and how it ended to a table of results."""
    append_row(
        table,
        way=way,
        model=config.model,
        image_size=format_size(config.image_size or (0, 0)),
        seed=config.seed,
        epochs=record.epochs,
        best_epoch=record.best_epoch,
        **figures,
    )
