"""A run to its end, told epoch by epoch: what the scripts that train share."""

from pathlib import Path

from striate.jobs.train import Finished, TrainRecord, train
from striate.training.config import TrainConfig
from striate.training.records import EpochRecord


def finished(config: TrainConfig, folder: Path, name: str) -> Finished:
    """Train, or go on with what was cut off in ``folder``; ``name`` is what is printed of it."""
    last: TrainRecord | None = None
    for last in train(config, resume=folder if (folder / "args.yaml").exists() else None):
        if isinstance(last, EpochRecord):
            print(f"{name}, epoch {last.epoch}: {last.metrics}, {last.seconds:.0f} s", flush=True)
    assert isinstance(last, Finished)
    return last
