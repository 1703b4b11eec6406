"""What a run's bits depend on: where any of it has changed, it cannot go on as if nothing had been."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from striate.errors import UsageError
from striate.jobs.usage import expect_unchanged
from striate.training.config import TrainConfig
from striate.training.group import Group


def circumstances_of(data: str, network: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """Return what a run's bits depend on; ``data`` is the fingerprint of its images."""
    tensors = [(name, list(tensor.shape)) for name, tensor in network.state_dict().items()]
    return {
        "data": data,
        "network": hashlib.sha256(repr((config.model, tensors)).encode()).hexdigest(),
        "threads": torch.get_num_threads(),
        "processes": Group.here().size,
        "torch": torch.__version__,
        "decoders": " ".join(f"{name} {version(name)}" for name in ("pillow", "tifffile", "kornia")),
        "striate": version("striate"),
        "settings": config.model_dump(mode="json"),
    }


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on where that would not end with the same bits.

    Raises:
        UsageError: naming what has changed, and what to do about it.
    """
    expect_unchanged(before["settings"], now["settings"])
    refuse_other_data(before["data"], now["data"])
    remedies = {
        "network": "The network is built otherwise than when the run began: use that version, or start a new run.",
        "threads": f"The thread count changes rounding: set OMP_NUM_THREADS={before.get('threads')}.",
        "processes": f"Go on with as many, which torchrun --nproc-per-node {before.get('processes')} starts.",
        "decoders": "Other versions may make other pixels: use those that the run began with, or start a new run.",
        "torch": "Another version computes other bits: use the one that the run began with, or start a new run.",
        "striate": "Use the version that the run began with, or start a new run.",
    }
    for name, remedy in remedies.items():
        if before.get(name) != now[name]:
            raise UsageError(
                expected=f"the run's own {name}: {str(before.get(name))[:60]}",
                received=str(now[name])[:60],
                remedy=remedy,
            )


def refuse_other_data(before: str, now: str) -> None:
    """Refuse to go on with other images than a run began with.

    Args:
        before: their fingerprint.
        now: of those that are there.

    Raises:
        UsageError: where they differ.
    """
    if before != now:
        raise UsageError(
            expected=f"the run's own data: {before[:60]}",
            received=now[:60],
            remedy="The images or labels differ from those that the run began with: put them back, or start a new run.",
        )
