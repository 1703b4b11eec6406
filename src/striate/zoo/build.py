"""From a name of the table to a network, with fresh weights or others'."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.errors import UsageError, nearest
from striate.pretrained import open_pretrained
from striate.weights import (
    WeightsConfig,
    find_weights,
    load_features,
    load_pretrained,
    read_shapes,
    read_weights_config,
)
from striate.zoo.table import Entry, find_model

if TYPE_CHECKING:
    from torch import nn

    from striate.blocks.network import Network
    from striate.pretrained import Pretrained


STEM_STRIDE = "stem_stride"  # An option of all networks for whole images.
BACKBONE = "backbone"  # An option of all networks that stand on one: the name of a network of this table.
USUAL_BACKBONE = "mobilenet_v2"
GIVEN = {"num_classes", "in_chans", "image_size"}  # Said besides.
HEADS = {"drop_rate", "aux_heads"}  # Options of what a backbone leaves behind.


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    image_size: int | Sequence[int] | None = None,
    pretrained: str | Path | None = None,
    frozen_norm: bool | None = None,
    **options: Any,
) -> "Network":
    """Build a network of the zoo with fresh weights, on torch's default device and in its default dtype.

    Args:
        name: one of `list_models`.
        num_classes: logits per image; the paper's number by default.
        in_chans: channels of the images; the paper's by default.
        image_size: (height, width) of the images, or one number for both; the paper's by default. A network that takes
            images of any size only checks that something is left of these.
        pretrained: weights of the network, or of its backbone: a safetensors file, under our names of the tensors or
            those of torchvision or timm (its ``legacy_`` networks for squeeze-and-excitation and Xception); or a run
            folder or folder of weights, whose config then says what is not said here; or ``hub``, to fetch published
            ones. Auxiliary heads are taken where the network has them. With another number of classes all but the
            layers that give logits is taken, and a warning says so.
        frozen_norm: whether batch norm keeps its statistics in training too; by default where the pretrained weights
            want it: their config says so, or their batch norm is folded into the convolutions.
        options: the network's own, such as ``hidden_sizes`` of ``mlp``, ``drop_rate``, ``output_stride``; of one that
            takes images of any size ``stem_stride``, of its first convolution: a multiple of the paper's, which makes
            all maps smaller by as much; of one that stands on another ``backbone``, and the options of that.

    Raises:
        UsageError: for an unknown name or option, or a size that the network cannot take.
        StriateError: for weights that are not this network's, listing what is missing, left over or of another shape.
    """
    entry = find_model(name)
    weights = None if pretrained is None else open_pretrained(pretrained, *names_of_weights(name, options))
    config = None if weights is None else weights.config
    if config is not None:
        options = config.model_options | options
    if config is not None and config.model == name:
        num_classes = config.num_classes if num_classes is None else num_classes
        in_chans = config.in_chans if in_chans is None else in_chans
        image_size = config.image_size if image_size is None else image_size
    network = _build(entry, num_classes, in_chans, image_size, options)
    if weights is not None:
        fresh = fill(network, name, weights, options)
        if fresh and not is_of_backbone(network, name, weights):
            warnings.warn(
                f"{weights.origin} is for another number of classes than {network.num_classes}: all is taken from it "
                f"but {', '.join(fresh)}, which begins afresh",
                stacklevel=2,
            )
    from striate.blocks.normalisation import freeze_norms, norms_are_folded

    if config is not None and frozen_norm is None:
        frozen_norm = config.frozen_norm
    if frozen_norm is None:
        frozen_norm = weights is not None and norms_are_folded(body_of(network, name))
    if frozen_norm:
        freeze_norms(body_of(network, name))
    return network


def names_of_weights(name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the networks whose weights ``name`` can begin with: itself, and its backbone if it has one."""
    if find_model(name).task == "classify":
        return (name,)
    return name, str(options.get(BACKBONE, USUAL_BACKBONE))


def is_of_backbone(network: "Network", name: str, weights: "Pretrained") -> bool:
    """Tell whether weights are those of a network's backbone, rather than its own."""
    if find_model(name).task == "classify":
        return False
    if weights.config is not None:
        return weights.config.model != name
    own = {child for child, _ in network.named_children() if child != "features"}
    return not any(tensor.partition(".")[0] in own for tensor in read_shapes(weights.file))


def body_of(network: "Network", name: str) -> "nn.Module":
    """Return what of a network has batch norms that can be frozen: of one that stands on a backbone, that."""
    return network if find_model(name).task == "classify" else network.features


def fill(network: "Network", name: str, weights: "Pretrained", options: Mapping[str, Any]) -> list[str]:
    """Put weights into the network ``name``; return its layers that begin afresh.

    Args:
        network: fresh.
        name: its name in the zoo.
        weights: its own, for as many classes or others, or its backbone's.
        options: that it was built with.

    Raises:
        StriateError: for weights that are not this network's, listing what is missing, left over or of another shape.
    """
    entry = find_model(name)
    if is_of_backbone(network, name, weights):
        backbone = find_model(names_of_weights(name, options)[-1])
        load_features(network, backbone.name, weights.file, backbone.peer_names)
        return network.head_layers()
    return load_pretrained(network, name, weights.file, entry.peer_names, entry.with_aux_heads is not None)


def _build(
    entry: Entry,
    num_classes: int | None,
    in_chans: int | None,
    image_size: int | Sequence[int] | None,
    options: dict[str, Any],
) -> "Network":
    from striate.blocks.classifier import map_size, stretch_stem

    if entry.task != "classify":
        return _on_backbone(entry, num_classes, in_chans, image_size, options)
    known = inspect.signature(entry.build).parameters
    stem_stride = options.get(STEM_STRIDE)
    options = {option: value for option, value in options.items() if option != STEM_STRIDE}
    for option in options:
        if option not in known:
            raise UsageError(
                expected=f"an option of {entry.name}",
                received=repr(option),
                remedy=nearest(option, [*known, STEM_STRIDE]),
            )
    size = _pair(entry.image_size if image_size is None else image_size)
    chosen: dict[str, Any] = {
        "num_classes": entry.num_classes if num_classes is None else num_classes,
        "in_chans": entry.in_chans if in_chans is None else in_chans,
        "image_size": size,
    }
    for key, value in chosen.items():
        _expect_positive(key, value)
    network = _called(entry, {key: value for key, value in chosen.items() if key in known}, options)
    if stem_stride is not None:
        stretch_stem(entry.name, network, stem_stride)
    if network.image_size is None and (size != entry.image_size or stem_stride is not None):
        map_size(entry.name, network.features, chosen["in_chans"], (size[0], size[1]))
    return network


def _on_backbone(
    entry: Entry,
    num_classes: int | None,
    in_chans: int | None,
    image_size: int | Sequence[int] | None,
    options: Mapping[str, Any],
) -> "Network":
    """Build a backbone, with all options but its name and the network's own, and the network on it."""
    backbone = find_model(str(options.get(BACKBONE, USUAL_BACKBONE)))
    if backbone.task != "classify":
        raise UsageError(
            expected=f"a network for whole images as backbone of {entry.name}",
            received=backbone.name,
            remedy=f"Such as {USUAL_BACKBONE}.",
        )
    names = inspect.signature(entry.build).parameters
    own = {name: value for name, value in options.items() if name in names and name != BACKBONE}
    asked = {name: value for name, value in options.items() if name not in names}
    known = inspect.signature(backbone.build).parameters
    for option in asked:
        if option not in (*known, STEM_STRIDE):
            ours = [name for name in names if name not in (BACKBONE, *GIVEN)]
            bare = [name for name in known if name not in GIVEN | HEADS]
            raise UsageError(
                expected=f"an option of {entry.name} or of its backbone {backbone.name}",
                received=repr(option),
                remedy=nearest(option, [BACKBONE, *ours, *bare, STEM_STRIDE]),
            )
    for option in entry.backbone_options:
        if option not in known:
            raise UsageError(
                expected=f"a backbone of {entry.name} that takes {option}",
                received=backbone.name,
                remedy=f"Such as {USUAL_BACKBONE} or resnet50.",
            )
    for option in HEADS & asked.keys():
        raise UsageError(
            expected=f"an option of {entry.name} or of the feature layers of {backbone.name}",
            received=f"{option!r}, of the head that {entry.name} has not",
            remedy="Leave it out.",
        )
    theirs = {**entry.backbone_options, **asked}
    made = _build(backbone, None, in_chans, image_size, theirs)
    given: dict[str, Any] = {BACKBONE: made, "num_classes": entry.num_classes if num_classes is None else num_classes}
    _expect_positive("num_classes", given["num_classes"])
    if "image_size" in names:
        given["image_size"] = _pair(entry.image_size if image_size is None else image_size)
    return _called(entry, given, own)


def _called(entry: Entry, given: Mapping[str, Any], options: Mapping[str, Any]) -> "Network":
    """Build a network from what is known to be right, and from options that a user gave."""
    known = inspect.signature(entry.build).parameters
    for option, value in options.items():
        if isinstance(known[option].default, bool) and not isinstance(value, bool):
            raise UsageError(
                expected=f"{option} of {entry.name} as true or false",
                received=repr(value),
                remedy="Several options are given one by one: --model-kwargs a=1 --model-kwargs b=2.",
            )
    try:
        return entry.build(**given, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(
            expected=f"values that {entry.name} takes",
            received=f"{options}: {error}",
            remedy=f"See help({entry.place}).",
        ) from error


def _pair(size: int | Sequence[int]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _expect_positive(name: str, value: int | tuple[int, ...]) -> None:
    if min(value if isinstance(value, tuple) else (value,)) < 1:
        raise UsageError(expected=f"{name} of 1 or more", received=str(value), remedy="Give a positive number.")


def build_network(config: WeightsConfig) -> "Network":
    """Build the network that a config describes, with fresh weights."""
    return create_model(
        config.model,
        num_classes=config.num_classes,
        in_chans=config.in_chans,
        image_size=config.image_size,
        frozen_norm=config.frozen_norm,
        **config.model_options,
    )


def load_network(folder: str | Path) -> tuple["Network", WeightsConfig]:
    """Rebuild a trained network, in evaluation mode, with the config that says how to feed it.

    Args:
        folder: a run folder (its best weights are taken) or a folder with the two files.

    Raises:
        StriateError: where files are missing, damaged, or of another network.
    """
    config = read_weights_config(find_weights(folder))
    return create_model(config.model, pretrained=folder).eval(), config
