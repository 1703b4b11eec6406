"""What a run needs before it is planned: images as a network takes them, a task, and first weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from striate.blocks.initialisation import initialise
from striate.blocks.normalisation import freeze_norms, norms_are_folded
from striate.data.boxed import Boxed
from striate.data.keyed import Use, key
from striate.data.masked import MaskedFiles
from striate.data.preprocessing import Preprocessing
from striate.data.sets import Splits
from striate.data.statistics import mean_and_std
from striate.detection.rcnn import RCNN
from striate.errors import UsageError
from striate.pretrained import Pretrained, open_pretrained, usual_preprocessing
from striate.training.checkpoint import has_generation
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.group import local_size
from striate.training.probe import last_layer
from striate.training.tasks import Classification, Detection, ImageTask, Regression, Segmentation
from striate.units import parse_bytes
from striate.weights import WeightsConfig, read_weights_config
from striate.zoo import body_of, create_model, fill, find_model, names_of_weights


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a run begins from.

    Args:
        weights: to be put into the network; None for fresh ones, and where the run's own are there.
        preprocessing: that came with them; None to measure it.
        frozen_norm: what came with them; None to look at the weights.
        options: of the network that they were made with.
        origin: of the weights, for people.
        licence: of the weights, as far as anybody says.
    """

    weights: Pretrained | None = None
    preprocessing: Preprocessing | None = None
    frozen_norm: bool | None = False
    options: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""
    licence: str = ""


def find_beginning(config: TrainConfig, folder: RunFolder | None) -> Beginning:
    """Return where a run begins from; one that goes on begins with what it has written down.

    Raises:
        StriateError: for weights that are not there, or are another network's.
    """
    if folder is not None and has_generation(folder.resume):
        saved = read_weights_config(folder.last)
        return Beginning(
            None,
            saved.preprocessing,
            saved.frozen_norm,
            saved.model_options,
            saved.origin,
            saved.licence,
        )
    if config.pretrained is None:
        return Beginning()
    weights = open_pretrained(config.pretrained, *names_of_weights(config.model, config.model_kwargs))
    entry = find_model(config.model)
    usual = usual_preprocessing(entry.image_size) if entry.in_chans == 3 else None
    return Beginning(
        weights,
        weights.preprocessing or usual,
        None if weights.config is None else weights.config.frozen_norm,
        {} if weights.config is None else weights.config.model_options,
        weights.origin,
        weights.licence,
    )


class Prepared(NamedTuple):
    """What a run needs before it is planned."""

    splits: Splits
    task: ImageTask
    network: nn.Module
    weights: WeightsConfig
    head: tuple[str, ...]


def outline(config: TrainConfig, beginning: Beginning) -> nn.Module:
    """Return the network without its numbers, before the data is read: what it would refuse is refused then."""
    with torch.device("meta"):
        return create_model(config.model, image_size=_image_size(config, beginning), **_options(config, beginning))


def prepare(config: TrainConfig, found: Splits, beginning: Beginning) -> Prepared:
    """Prepare a run.

    Args:
        config: of the run.
        found: the data, as it is.
        beginning: where it begins from.

    Raises:
        UsageError: for settings that do not go together with the data or the weights.
    """
    splits, preprocessing = _splits(config, found, beginning)
    classes = splits.train.classes
    task = _task(config, preprocessing, splits)
    task.prepare(splits.train)
    options = _options(config, beginning)
    torch.manual_seed(key(config.seed, Use.WEIGHTS))
    network = create_model(
        config.model,
        num_classes=task.outputs,
        in_chans=preprocessing.channels,
        image_size=preprocessing.image_size,
        frozen_norm=False,
        **options,
    )
    notes: list[str] = []
    if isinstance(network, RCNN):
        notes.append("epochs are judged by what the network itself says; its last stages come after them all")
    if config.init is not None:
        initialise(body_of(network, config.model), config.init)
    task.adapt(network)
    if beginning.weights is not None:
        _begin(network, config, beginning.weights, options, classes, notes)
    frozen_norm = config.frozen_norm if config.frozen_norm is not None else beginning.frozen_norm
    if frozen_norm is None:
        frozen_norm = norms_are_folded(body_of(network, config.model))
        if frozen_norm:
            notes.append("batch norm is folded into these weights, and keeps its statistics")
    if frozen_norm:
        freeze_norms(body_of(network, config.model))
    weights = WeightsConfig(
        model=config.model,
        model_options=options,
        frozen_norm=frozen_norm,
        preprocessing=preprocessing,
        origin=beginning.origin,
        licence=beginning.licence,
        **task.describe(),
    )
    splits, head = replace(splits, notes=(*splits.notes, *notes)), tuple(network.head_layers())
    if config.probe:
        last_layer(network, head)
    return Prepared(splits, task, network, weights, head)


def _task(config: TrainConfig, preprocessing: Preprocessing, splits: Splits) -> ImageTask:
    """Return what is to be learned of images.

    Raises:
        UsageError: where something else was asked for, or flags that are not for it.
    """
    images = splits.train
    if isinstance(images, Boxed):
        return Detection(config, preprocessing, images.classes)
    if isinstance(images, MaskedFiles):
        return Segmentation(config, preprocessing, images.mask_classes)
    if config.task == ("regress" if images.classes else "classify"):
        has = "classes" if images.classes else "numbers"
        raise UsageError(
            expected=f"images with {'numbers' if images.classes else 'classes'}, for --task {config.task}",
            received=f"{has}, in {config.data}",
            remedy="A table says which: by a column number, or a column label.",
        )
    return (
        Classification(config, preprocessing, images.classes) if images.classes else Regression(config, preprocessing)
    )


def _begin(
    network: Any,
    config: TrainConfig,
    weights: Pretrained,
    options: Mapping[str, Any],
    classes: tuple[str, ...],
    notes: list[str],
) -> None:
    """Put weights into a network; its last layer begins afresh unless they are for these very classes."""
    fresh = fill(network, config.model, weights, options)
    if not fresh and (weights.config is None or not classes or weights.config.classes != classes):
        network.reset_classifier(network.num_classes)
        fresh = network.output_layers()
    named = " and ".join(filter(None, (", ".join(fresh[:-1]), *fresh[-1:])))
    afresh = f"; {named} afresh" if fresh else ""
    notes.append(f"begins with {weights.origin}{afresh}")


def _splits(config: TrainConfig, found: Splits, beginning: Beginning) -> tuple[Splits, Preprocessing]:
    """Return the parts as the network takes them, and how: flags over what came with the weights over what is usual."""
    given = beginning.preprocessing
    size = _image_size(config, beginning)
    channels = config.in_chans or (found.train.channels if given is None else given.channels)
    crop_pct = config.crop_pct if config.crop_pct is not None else 1.0 if given is None else given.crop_pct
    if isinstance(found.train, Boxed):
        crop_pct = None  # Things at the edges count as much as those in the middle.
    interpolation = config.interpolation or ("bilinear" if given is None else given.interpolation)
    splits = found.prepared(channels, size, crop_pct, interpolation)
    if config.cache is not None:
        # Each of a run's processes on this machine has a part of it.
        splits = splits.keeping(parse_bytes(config.cache) // local_size())
    mean = _spread(config.mean, channels, "--mean") or (None if given is None else given.mean)
    std = _spread(config.std, channels, "--std") or (None if given is None else given.std)
    if mean is None or std is None:
        measured = mean_and_std(splits.train, config.seed)
        mean, std = mean or measured[0], std or measured[1]
    if len(mean) != channels:
        raise UsageError(
            expected=f"images of {len(mean)} channels, as the weights take them",
            received=f"--in-chans {channels}",
            remedy=f"Leave --in-chans out, or give {channels} values of --mean and --std.",
        )
    return splits, Preprocessing(image_size=size, mean=mean, std=std, crop_pct=crop_pct, interpolation=interpolation)


def _spread(values: tuple[float, ...] | None, channels: int, flag: str) -> tuple[float, ...] | None:
    if values is None or len(values) == channels:
        return values
    if len(values) == 1:
        return values * channels
    raise UsageError(
        expected=f"{flag} as one number, or one for each of {channels} channels",
        received=",".join(map(str, values)),
        remedy="Such as 0.5, or 0.485,0.456,0.406.",
    )


def _image_size(config: TrainConfig, beginning: Beginning) -> tuple[int, int]:
    given = beginning.preprocessing
    return config.image_size or (find_model(config.model).image_size if given is None else given.image_size)


def _options(config: TrainConfig, beginning: Beginning) -> dict[str, Any]:
    own = {} if config.drop is None else {"drop_rate": config.drop}
    return {**beginning.options, **config.model_kwargs, **own}
