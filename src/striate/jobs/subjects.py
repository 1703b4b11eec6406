"""Networks that are looked into: trained ones, those of the zoo with weights or without, and any module."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from striate.blocks.classifier import find_stem
from striate.blocks.network import Network
from striate.data.images import read_image
from striate.data.preprocessing import Preprocessing
from striate.data.transforms import fit, normalise
from striate.errors import UsageError
from striate.jobs.networks import build_network, check_network
from striate.pretrained import open_pretrained, usual_preprocessing
from striate.zoo import ZOO, Entry, create_model, load_network

SIDE = 224  # Pixels of an image for a module that does not say what it takes.
MIDDLE = 0.5  # Mean and standard deviation of levels, likewise.


@dataclass(frozen=True, slots=True)
class Subject:
    """A network that is looked into.

    Args:
        network: in evaluation mode; of one that says no classes of whole images, its feature layers.
        preprocessing: of its images.
        classes: of images; empty for a network that tells none, or of which nobody says.
        is_classifier: whether it gives a logit for each of several classes.
        is_trained: whether it has weights that were learned.
    """

    network: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    is_classifier: bool
    is_trained: bool

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
        UsageError: for a network that is not there, weights with a network that brings its own, or a size that it
            cannot take.
    """
    check_network(model)
    if pretrained is not None and model not in ZOO:
        raise UsageError(
            expected="--pretrained with a network of the zoo",
            received=f"it with {model}, which brings its own weights",
            remedy="Leave it out.",
        )
    torch.manual_seed(seed)
    classes: tuple[str, ...] = ()
    task: str | None = None
    if model in ZOO:
        entry = ZOO[model]
        task = entry.task
        given = None if pretrained is None else open_pretrained(pretrained, model)
        network: nn.Module = create_model(model, pretrained=pretrained, image_size=image_size)
        preprocessing = _usual(entry) if given is None or given.preprocessing is None else given.preprocessing
        classes = () if given is None or given.config is None else given.config.classes
    elif ":" in model:
        network = build_network(model, {})
        stem = find_stem(network)
        preprocessing = _plain(3 if stem is None else stem.in_channels, (SIDE, SIDE))
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
    return _subject(network.eval(), preprocessing, classes, task, model not in ZOO or pretrained is not None)


def _subject(
    network: nn.Module, preprocessing: Preprocessing, classes: tuple[str, ...], task: str | None, is_trained: bool
) -> Subject:
    if task not in (None, "classify"):
        body = network.features if isinstance(network, Network) and task != "regress" else network
        return Subject(body, preprocessing, (), False, is_trained)
    with torch.no_grad():
        said = network(torch.zeros(1, preprocessing.channels, *preprocessing.image_size))
    is_classifier = isinstance(said, torch.Tensor) and said.ndim == 2 and said.shape[1] > 1
    if is_classifier and len(classes) != said.shape[1]:
        classes = tuple(f"class {place}" for place in range(said.shape[1]))
    return Subject(network, preprocessing, classes if is_classifier else (), is_classifier, is_trained)


def _usual(entry: Entry) -> Preprocessing:
    """Return what images of a network of the zoo are, where nobody says."""
    return usual_preprocessing(entry.image_size) if entry.in_chans == 3 else _plain(entry.in_chans, entry.image_size)


def _plain(channels: int, image_size: tuple[int, int]) -> Preprocessing:
    return Preprocessing(image_size=image_size, mean=(MIDDLE,) * channels, std=(MIDDLE,) * channels)
