"""Networks that are looked into: trained ones, those of the zoo with weights or without, and any module."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from striate.blocks.classifier import find_stem
from striate.data.images import read_image
from striate.data.preprocessing import Preprocessing
from striate.data.transforms import fit, normalise
from striate.detection.detector import Detector
from striate.errors import StriateError, UsageError
from striate.jobs.networks import build_network, check_network
from striate.pretrained import open_pretrained, usual_preprocessing
from striate.units import format_size
from striate.zoo import ZOO, Entry, create_model, load_network

SIDE = 224  # Pixels of an image for a module that does not say what it takes.
MIDDLE = 0.5  # Mean and standard deviation of levels, likewise.


@dataclass(frozen=True, slots=True)
class Subject:
    """A network that is looked into.

    Args:
        network: in evaluation mode; of one that is shown more than images, its feature layers under their names there.
        preprocessing: of its images.
        classes: of images; empty for a network that tells none, or of which nobody says.
        is_classifier: whether it gives a logit for each of several classes.
        is_trained: whether it has weights that were learned; None where only the code that builds it knows.
        is_backbone: whether it is the feature layers alone.
    """

    network: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    is_classifier: bool
    is_trained: bool | None
    is_backbone: bool = False

    def read(self, path: Path) -> tuple[UInt8[Tensor, "1 C H W"], Float32[Tensor, "1 C H W"]]:
        """Return the part of an image that the network sees, as pixels and as it takes them.

        Raises:
            ImageFileError: where the file cannot be read.
        """
        pixels = fit(read_image(path, self.preprocessing.channels), self.preprocessing)
        return pixels, normalise(pixels, self.preprocessing)


def open_subject(
    model: str,
    *,
    pretrained: str | Path | None = None,
    image_size: tuple[int, int] | None = None,
    mean: float | None = None,
    std: float | None = None,
    seed: int = 0,
) -> Subject:
    """Build a network that a user names.

    Args:
        model: a run folder or folder of weights, a network of the zoo, ``file.py:callable`` or
            ``package.module:callable``.
        pretrained: weights of a network of the zoo, as `striate.create_model` takes them.
        image_size: (height, width) of its images; its own by default.
        mean: of the levels of its images, from 0 to 1; its own by default.
        std: their standard deviation, likewise.
        seed: of fresh weights.

    Raises:
        UsageError: for a network that is not there, weights with a network that brings its own, a size that it cannot
            take, or levels out of range.
    """
    check_network(model)
    _check_levels(mean, std)
    if pretrained is not None and model not in ZOO:
        raise UsageError(
            expected="--pretrained with a network of the zoo",
            received=f"it with {model}, which brings its own weights",
            remedy="Leave it out.",
        )
    torch.manual_seed(seed)
    is_trained: bool | None = True
    classes: tuple[str, ...] = ()
    task: str | None = None
    if model in ZOO:
        entry = ZOO[model]
        task, is_trained = entry.task, pretrained is not None
        given = None if pretrained is None else open_pretrained(pretrained, model)
        network: nn.Module = create_model(model, pretrained=pretrained, image_size=image_size)
        preprocessing = _usual(entry) if given is None or given.preprocessing is None else given.preprocessing
        classes = () if given is None or given.config is None else given.config.classes
    elif ":" in model:
        network, is_trained, side = build_network(model, {}).eval(), None, image_size or (SIDE, SIDE)
        preprocessing = _plain(_channels(model, network, side), side)
    else:
        network, config = load_network(model)
        preprocessing, classes, task = config.preprocessing, config.classes, config.task
    changed = {
        "image_size": image_size,
        "mean": None if mean is None else (mean,) * preprocessing.channels,
        "std": None if std is None else (std,) * preprocessing.channels,
    }
    preprocessing = preprocessing.model_copy(
        update={name: value for name, value in changed.items() if value is not None}
    )
    is_backbone = False
    if isinstance(network, Detector) and network.search is not None:
        network, is_backbone = _Backbone(network.features), True
    said = _said(model, network.eval(), preprocessing.channels, preprocessing.image_size)
    is_classifier = task in (None, "classify") and isinstance(said, Tensor) and said.ndim == 2 and said.shape[1] > 1
    if not is_classifier:
        classes = ()
    elif len(classes) != said.shape[1]:
        classes = tuple(f"class {place}" for place in range(said.shape[1]))
    return Subject(network, preprocessing, classes, is_classifier, is_trained, is_backbone)


class _Backbone(nn.Module):
    """Feature layers, under the names that they have in the network."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.features(x)
        return maps


def _check_levels(mean: float | None, std: float | None) -> None:
    for flag, value, is_right, bounds in (
        ("--mean", mean, mean is None or 0 <= mean <= 1, "from 0 to 1"),
        ("--std", std, std is None or 0 < std <= 1, "above 0 and up to 1"),
    ):
        if not is_right:
            raise UsageError(
                expected=f"{flag} {bounds}",
                received=str(value),
                remedy="Levels are counted from 0, black, to 1, white: of those up to 255, give the 255th part.",
            )


def _channels(model: str, network: nn.Module, image_size: tuple[int, int]) -> int:
    """Return of how many channels a network's images are: colour, grey, or what a convolution in it takes.

    Raises:
        UsageError: where it takes none of these, as for colour.
    """
    stem, failures = find_stem(network), list[UsageError]()
    tried: list[int] = [3, 1] if stem is None else [3, 1, stem.in_channels]
    for channels in tried:
        try:
            _said(model, network, channels, image_size)
        except UsageError as error:
            failures.append(error)
        else:
            return channels
    raise failures[0]


def _said(model: str, network: nn.Module, channels: int, image_size: tuple[int, int]) -> Any:
    """Return what a network makes of one image.

    Raises:
        UsageError: where it fails, whatever the error.
    """
    try:
        with torch.no_grad():
            return network(torch.zeros(1, channels, *image_size))
    except StriateError:
        raise
    except Exception as error:  # Code of the user's may fail in any way.
        shape = f"{channels}x{format_size(image_size)}"
        raise UsageError(
            expected=f"a network that takes one image, and nothing else, of {shape}",
            received=f"{type(error).__name__} from {model}: {error}",
            remedy="Of another size? Give it: --image-size 28 or --image-size 48x64.",
        ) from error


def _usual(entry: Entry) -> Preprocessing:
    """Return what images of a network of the zoo are, where nobody says."""
    return usual_preprocessing(entry.image_size) if entry.in_chans == 3 else _plain(entry.in_chans, entry.image_size)


def _plain(channels: int, image_size: tuple[int, int]) -> Preprocessing:
    return Preprocessing(image_size=image_size, mean=(MIDDLE,) * channels, std=(MIDDLE,) * channels)
