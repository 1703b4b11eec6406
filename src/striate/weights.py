"""Trained weights in and out: ``model.safetensors``, and ``config.json``: how to build and feed the network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from striate.errors import StriateError, UsageError
from striate.files import load_tensors, replace_file, save_tensors
from striate.zoo import create_model

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


class Normalisation(BaseModel):
    """Mean and standard deviation of each channel of the training images, on the scale from 0 to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: tuple[float, ...]
    std: tuple[float, ...]


class WeightsConfig(BaseModel):
    """What ``config.json`` says: enough to build the network and to feed it, without the run that trained it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    num_classes: int
    in_chans: int
    image_size: tuple[int, int]
    model_options: dict[str, Any] = {}
    task: Literal["classify"] = "classify"
    classes: tuple[str, ...]
    normalisation: Normalisation

    def build(self) -> "nn.Module":
        """Build the network with fresh weights."""
        return create_model(
            self.model,
            num_classes=self.num_classes,
            in_chans=self.in_chans,
            image_size=self.image_size,
            **self.model_options,
        )


def save_weights(folder: Path, state: Mapping[str, "Tensor"], config: WeightsConfig) -> None:
    """Write a network's state and its config into ``folder``; each file is replaced whole."""
    text = config.model_dump_json(indent=2) + "\n"
    replace_file(folder / CONFIG_FILE, lambda beside: beside.write_text(text, encoding="utf-8"))
    save_tensors(folder / WEIGHTS_FILE, state)


def load_network(folder: str | Path) -> tuple["nn.Module", WeightsConfig]:
    """Rebuild a trained network, in evaluation mode, with the config that says how to feed it.

    Args:
        folder: a run folder (its best weights are taken) or a folder with the two files.

    Raises:
        StriateError: where files are missing, damaged, or of another network.
    """
    folder = find_weights(folder)
    config = read_weights_config(folder)
    network = config.build()
    load_state(network, load_tensors(folder / WEIGHTS_FILE), f"{folder / WEIGHTS_FILE}")
    return network.eval(), config


def load_state(network: "nn.Module", state: Mapping[str, "Tensor"], source: str) -> None:
    """Put ``state`` into ``network``, all of it.

    Raises:
        StriateError: listing what is missing, left over or of another shape.
    """
    own = network.state_dict()
    wrong = [
        *(f"missing {name}" for name in own if name not in state),
        *(f"left over {name}" for name in state if name not in own),
        *(
            f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ),
    ]
    if wrong:
        raise StriateError(
            expected=f"in {source} the {len(own)} tensors of {type(network).__name__}",
            received="; ".join(wrong[:8]) + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""),
            remedy="These weights belong to another network or another number of classes.",
        )
    network.load_state_dict(dict(state))


def find_weights(folder: str | Path) -> Path:
    """Return the folder that holds the weights: that of a run's best ones, or ``folder`` itself."""
    best = Path(folder) / "weights" / "best"
    return best if best.is_dir() else Path(folder)


def read_weights_config(folder: Path) -> WeightsConfig:
    """Read ``config.json``.

    Raises:
        StriateError: where it is missing or damaged.
    """
    path = folder / CONFIG_FILE
    try:
        return WeightsConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        unfinished = (folder / "args.yaml").exists()
        raise UsageError(
            expected=f"a run folder, or a folder with {CONFIG_FILE} and {WEIGHTS_FILE}",
            received=f"{folder}, a run of which no epoch has ended" if unfinished else str(folder),
            remedy=f"Go on with it: striate train --resume {folder}"
            if unfinished
            else "Give the folder that `striate train` named when it ended.",
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise StriateError(
            expected=f"what striate wrote to {path}",
            received=str(error).partition("\n")[0],
            remedy="The file was damaged or edited; restore it from the run that made it.",
        ) from error
