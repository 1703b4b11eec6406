"""Networks that are looked into: trained ones, those of the zoo with weights or without, and any module."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from striate.blocks.network import Network
from striate.data.preprocessing import Preprocessing
from striate.errors import UsageError
from striate.jobs.networks import build_network, check_network
from striate.pretrained import open_pretrained, usual_preprocessing
from striate.weights import find_weights, read_weights_config
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
    is_trained = True
    if model in ZOO:
        entry, is_trained = ZOO[model], pretrained is not None
        given = None if pretrained is None else open_pretrained(pretrained, model)
        network: nn.Module = create_model(model, pretrained=pretrained, image_size=image_size)
        preprocessing = _usual(entry) if given is None or given.preprocessing is None else given.preprocessing
        classes = () if given is None or given.config is None else given.config.classes
    elif ":" in model:
        network = build_network(model, {})
        preprocessing = _plain(_channels(network), (SIDE, SIDE))
    else:
        network, config = load_network(model)
        preprocessing, classes = config.preprocessing, config.classes
    changed = {
        "image_size": image_size,
        "mean": None if mean is None else (mean,) * preprocessing.channels,
        "std": None if std is None else (std,) * preprocessing.channels,
    }
    preprocessing = preprocessing.model_copy(
        update={name: value for name, value in changed.items() if value is not None}
    )
    return _subject(network.eval(), preprocessing, classes, _task(model), is_trained)


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


def _task(model: str) -> str | None:
    """Return what a network is for; None where nobody says."""
    if model in ZOO:
        return ZOO[model].task
    return None if ":" in model else read_weights_config(find_weights(model)).task


def _channels(network: nn.Module) -> int:
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def _usual(entry: Entry) -> Preprocessing:
    """Return what images of a network of the zoo are, where nobody says."""
    return usual_preprocessing(entry.image_size) if entry.in_chans == 3 else _plain(entry.in_chans, entry.image_size)


def _plain(channels: int, image_size: tuple[int, int]) -> Preprocessing:
    return Preprocessing(image_size=image_size, mean=(MIDDLE,) * channels, std=(MIDDLE,) * channels)
