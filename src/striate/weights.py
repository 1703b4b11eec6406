"""Trained weights in and out: ``model.safetensors``, and ``config.json``: how to build and feed the network.

Weights that others published come in under their own names of the tensors.
"""

import json
import math
import os
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from striate.data.preprocessing import Preprocessing
from striate.errors import StriateError, UsageError
from striate.files import cache_folder, load_tensors, replace_file, save_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from striate.blocks.network import Network

Level = Annotated[int, Field(ge=0, le=255)]
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
AUXILIARY = ("aux1.", "aux2.")
FEATURES = "features."
COUNTER = "num_batches_tracked"
STATISTICS = ("running_mean", "running_var", COUNTER)
LARGEST_HEADER = 100_000_000


class WeightsConfig(BaseModel):
    """What ``config.json`` says: enough to build the network and to feed it, without the run that trained it.

    Args:
        model: its name in the zoo.
        model_options: what `striate.create_model` takes besides.
        frozen_norm: whether batch norm keeps its statistics when the weights are trained on; None to look whether the
            weights have it folded into their convolutions.
        task: what it was trained for: a class for each image, a number, a class for each pixel, or a box around each
            thing.
        classes: their names, in the order of the logits; none for numbers.
        colours: red, green and blue that each class of pixels is painted in, from 0 to 255; none for the usual ones.
        numbers: the class of each number, or colour, that the masks hold which it was trained on, as
            `striate.data.masks.MaskClasses` has them; none where nobody says.
        scale: what the network's one output is multiplied with and what is added then, for a number.
        preprocessing: of its images.
        origin: where training began from: other weights, if it did.
        licence: of these weights, as far as it is known.
        fully_convolutional: whether the network answers at each place of an image, and with which stride of its first
            dense layer; None for one answer for each image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str
    model_options: dict[str, Any] = {}
    frozen_norm: bool | None = None
    task: Literal["classify", "regress", "segment", "detect"] = "classify"
    classes: tuple[str, ...]
    colours: tuple[tuple[Level, Level, Level], ...] = ()
    numbers: dict[int, int] = {}
    scale: tuple[float, float] | None = None
    preprocessing: Preprocessing
    origin: str = ""
    licence: str = ""
    fully_convolutional: int | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "WeightsConfig":
        if (self.task == "regress") == bool(self.classes) or (self.task == "regress") != (self.scale is not None):
            raise ValueError("classes of images or pixels, or a scale to regress")
        if len(self.colours) not in (0, len(self.classes)):
            raise ValueError(f"a colour for each of {len(self.classes)} classes, not {len(self.colours)}")
        return self

    @property
    def num_classes(self) -> int:
        """Numbers that the network gives for an image: logits, or one."""
        return max(len(self.classes), 1)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's images."""
        return self.preprocessing.image_size

    @property
    def in_chans(self) -> int:
        """Channels of the network's images."""
        return self.preprocessing.channels


def save_weights(folder: str | Path, state: Mapping[str, "Tensor"], config: WeightsConfig) -> None:
    """Write a network's state and its config into ``folder``; each file is replaced whole."""
    text = config.model_dump_json(indent=2) + "\n"
    replace_file(Path(folder) / CONFIG_FILE, lambda beside: beside.write_text(text, encoding="utf-8"))
    save_tensors(Path(folder) / WEIGHTS_FILE, state)


def load_pretrained(
    network: "Network",
    name: str,
    source: Path,
    peer_names: Sequence[tuple[str, str]],
    has_heads: bool,
) -> list[str]:
    """Put published weights, or ours, into a network; return the layers that begin afresh, for other classes.

    Args:
        network: fresh.
        name: its name in the zoo.
        source: a safetensors file.
        peer_names: patterns of others' names, applied one after the other, and what they are called here.
        has_heads: whether the network can have auxiliary heads; those in the file are left out if it has not.

    Raises:
        UsageError: for a network on torch's meta device.
        StriateError: listing what is missing, left over or of another shape.
    """
    own = _state_of(network)
    drops_heads = has_heads and not any(ours.startswith(AUXILIARY) for ours in own)
    state = _read_as_ours(source, own, peer_names, leave_out=AUXILIARY if drops_heads else ())
    fresh = [layer for layer in network.output_layers() if _is_for_other_classes(layer, state, own)]
    for layer in fresh:
        state |= {ours: tensor for ours, tensor in own.items() if ours.startswith(f"{layer}.")}
    load_state(network, state, str(source), name)
    return fresh


def load_features(network: "Network", backbone: str, source: Path, peer_names: Sequence[tuple[str, str]]) -> None:
    """Put the feature layers of published weights, or ours, into a network that stands on them.

    Args:
        network: fresh.
        backbone: the name in the zoo of the network whose weights they are.
        source: a safetensors file.
        peer_names: as for `load_pretrained`.

    Raises:
        UsageError: for a network on torch's meta device.
        StriateError: listing what is missing, left over or of another shape.
    """
    state = _read_as_ours(source, _state_of(network), peer_names)
    # A network that looks at earlier maps has not the layers behind the last of them.
    used = tuple(f"{FEATURES}{child}." for child, _ in network.features.named_children())
    bare = {ours.removeprefix(FEATURES): tensor for ours, tensor in state.items() if ours.startswith(used)}
    load_state(network.features, bare, str(source), backbone)


def _read_as_ours(
    source: Path,
    own: Mapping[str, "Tensor"],
    peer_names: Sequence[tuple[str, str]],
    leave_out: tuple[str, ...] = (),
) -> dict[str, "Tensor"]:
    """Read a file's tensors under our names, but for some; of two with one name, the second keeps its own."""
    state: dict[str, Tensor] = {}
    for theirs, tensor in load_tensors(source).items():
        ours = theirs if theirs in own else _renamed(theirs, peer_names)
        if not ours.startswith(leave_out):
            state[theirs if ours in state else ours] = _as_dense(tensor, own.get(ours))
    # Files from before torch 0.4.1 lack a count that nothing is computed from.
    return state | {ours: tensor for ours, tensor in own.items() if ours.endswith(COUNTER) and ours not in state}


def _state_of(network: "Network") -> dict[str, "Tensor"]:
    own: dict[str, Tensor] = network.state_dict()
    if any(tensor.is_meta for tensor in own.values()):
        raise UsageError(
            expected="a device with memory, to put weights on",
            received="meta",
            remedy="Build the network outside `torch.device('meta')`.",
        )
    return own


def _as_dense(tensor: "Tensor", own: "Tensor | None") -> "Tensor":
    """Return the kernel of a convolution that sees the whole map as the matrix that it is, where ours is one."""
    is_matrix = own is not None and own.ndim == 2 and tensor.ndim == 4
    return tensor.flatten(1) if is_matrix else tensor


def _is_for_other_classes(layer: str, state: Mapping[str, "Tensor"], own: Mapping[str, "Tensor"]) -> bool:
    """Tell whether what is there for a layer differs from ours in the number of classes alone."""
    names = [ours for ours in own if ours.startswith(f"{layer}.")]
    weight = state.get(f"{layer}.weight")
    if weight is None or weight.ndim == 0 or any(ours not in state for ours in names):
        return False
    classes = weight.shape[0], own[f"{layer}.weight"].shape[0]
    return classes[0] != classes[1] and all(
        state[ours].ndim == own[ours].ndim and _differ_by(classes, state[ours].shape, own[ours].shape) for ours in names
    )


def _differ_by(classes: tuple[int, int], theirs: Sequence[int], ours: Sequence[int]) -> bool:
    """Tell whether the first side is the number of classes, and each other side that or the same."""
    first, *others = zip(theirs, ours, strict=True)
    return first == classes and all(pair == classes or pair[0] == pair[1] for pair in others)


def _renamed(name: str, peer_names: Sequence[tuple[str, str]]) -> str:
    for pattern, ours in peer_names:
        name = re.sub(pattern, ours, name)
    return name


def load_state(network: "nn.Module", state: Mapping[str, "Tensor"], source: str, name: str) -> None:
    """Put ``state`` into ``network``, all of it; ``source`` and ``name`` are what they are called.

    Raises:
        StriateError: listing what is missing, left over or of another shape.
    """
    own = network.state_dict()
    wrong = {
        "missing": [ours for ours in own if ours not in state],
        "left over": [ours for ours in state if ours not in own],
        "of another shape": [
            f"{ours} {tuple(state[ours].shape)}, not {tuple(tensor.shape)}"
            for ours, tensor in own.items()
            if ours in state and state[ours].shape != tensor.shape
        ],
    }
    if any(wrong.values()):
        raise StriateError(
            expected=f"in {source} the {len(own)} tensors of {name}",
            received="; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in wrong.items() if names),
            remedy="These weights are another network's, or were made with another image size, other channels or "
            "other options.",
        )
    network.load_state_dict(dict(state))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def weights_folder() -> Path:
    """Return where published weights are looked for: STRIATE_WEIGHTS, or striate/weights in the user's cache."""
    return Path(os.environ.get("STRIATE_WEIGHTS") or cache_folder("weights"))


def weights_at_hand(parameters: Mapping[str, Collection[int | None]]) -> dict[str, list[Path]]:
    """Return the weights in `weights_folder` of each network that has any.

    A folder with our two files says whose they are. A safetensors file is those of the network that has as many
    parameters.

    Args:
        parameters: of each network, in each form that it is published in.
    """
    found: dict[str, list[Path]] = {}
    folder = weights_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            if (path / CONFIG_FILE).is_file():
                found.setdefault(read_weights_config(path).model, []).append(path)
            elif path.suffix == ".safetensors":
                count = _count_parameters(path)
                for name, counts in parameters.items():
                    if count in counts:
                        found.setdefault(name, []).append(path)
        except StriateError:
            continue  # Whoever asks for those weights by name is told what is wrong with them.
    return found


def _count_parameters(path: Path) -> int:
    """Count the numbers of a safetensors file but for batch norm's statistics; 0 where it is none."""
    try:
        shapes = read_shapes(path)
        return sum(int(math.prod(shape)) for name, shape in shapes.items() if not name.endswith(STATISTICS))
    except TypeError:
        return 0


def read_shapes(path: Path) -> dict[str, Sequence[int]]:
    """Return the shapes of a safetensors file's tensors, without reading these; none where it is no such file.

    The header is JSON, after its length in eight bytes.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, LARGEST_HEADER)))
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error):
        return {}


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
            else "Give the folder that `striate train` named when it ended, or one that striate.save_weights wrote.",
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        raise StriateError(
            expected=f"what striate.save_weights writes to {path}",
            received=f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error).partition("\n")[0],
            remedy="The file was damaged or edited; restore it from the run that made it, or write it again.",
        ) from error
