"""Trains for real and dies for real: SIGKILL before the n-th event, then on again, until nothing kills it any more.

Run as ``python killed.py FOLDER POINT...``; each point is a list of numbers joined by commas, one for each life that
ends early; "" is a run that nobody disturbs. A process of its own, so that the imports are paid once and every life is
a fork. Events are what touches the disk (flushing, renaming, deleting, and a safetensors file half written) and every
optimizer step. A life prints the step from which it goes on and, if it comes to its end, the events that it had.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from sklearn import datasets as datasets

from striate.jobs.train import Started, train
from striate.training.config import TrainConfig
from striate.training.machine import Machine

CONFIG: dict[str, Any] = {
    "data": "digits",
    "model": "mlp",
    "model_kwargs": {"hidden_sizes": [12]},
    "image_size": 8,
    "drop": 0.2,
    "epochs": 3,
    "batch_size": 330,
    "opt": "nadam",
    "shift": 1,
    "mixup": 0.3,
    "average": "ema",
    "average_decay": 0.8,
    "warmup_epochs": 1,
    "checkpoint_seconds": 0,
}


def watch(deadly: int) -> list[str]:
    """Note every event from now on, and die before the one numbered ``deadly``."""
    events: list[str] = []

    def wrap(owner: Any, name: str, half: bool = False) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            events.append(f"{name} {Path(arguments[1]).name}" if name in ("replace", "save_file", "save") else name)
            if len(events) - 1 == deadly:
                if half:
                    original(*arguments, **options)
                    path = Path(arguments[1])
                    os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(owner, name, watched)

    wrap(os, "fsync")
    wrap(os, "replace")
    wrap(shutil, "rmtree")
    wrap(safetensors.torch, "save_file", half=True)
    wrap(torch, "save", half=True)
    wrap(torch.optim.NAdam, "step")
    return events


def live(folder: Path, deadly: int) -> None:
    """Begin or go on with the run in ``folder``; print the number of events if it comes to the end."""
    events = watch(deadly)
    begun = (folder / "args.yaml").exists()
    records = train(resume=folder) if begun else train(TrainConfig.model_validate({**CONFIG, "output": str(folder)}))
    for record in records:
        if isinstance(record, Started):
            print(json.dumps({"folder": folder.name, "from_step": record.step}), flush=True)
    print(json.dumps({"folder": folder.name, "events": events}), flush=True)


def main(root: Path, points: list[str]) -> None:
    """Live each point's lives in a folder of its own."""
    Machine(TrainConfig.model_validate(CONFIG))  # Loads Fabric, once.
    for point in points:
        for deadly in [*map(int, filter(None, point.split(","))), sys.maxsize]:
            child = os.fork()
            if child == 0:
                live(root / f"killed-{point or 'never'}", deadly)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            if died != (deadly < sys.maxsize) or not (died or os.WEXITSTATUS(status) == 0):
                sys.exit(f"the life to be ended at {deadly} of {point} ended with status {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
