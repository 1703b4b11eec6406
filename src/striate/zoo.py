"""One table of every network: its name, who makes it, its task, image size, paper and size."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.errors import UsageError, nearest
from striate.pretrained import open_pretrained
from striate.weights import WeightsConfig, find_weights, load_pretrained, read_weights_config

if TYPE_CHECKING:
    from striate.blocks.classifier import ImageClassifier


STEM_STRIDE = "stem_stride"  # An option of all networks.


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the zoo, with the figures of its paper.

    Args:
        name: what users call it.
        module: the file below ``striate.models`` that has a function of that name; loaded when first built, so that
            the table itself needs no torch.
        year: of the paper.
        authors: shortened.
        title: of the paper; the network's file says how far it follows it.
        parameters: trained numbers with ``num_classes`` classes, without auxiliary heads.
        macs: multiply-adds of its convolutions and dense layers for one image of ``image_size``.
        num_classes: classes with which those were counted.
        in_chans: channels of its images.
        image_size: (height, width) of its images.
        with_aux_heads: trained numbers with auxiliary heads, where it can have them.
        smaller: the next smaller network of the family.
        backbone: whether it has feature maps.
        task: what it was made for: a class for each image, or for each pixel. The latter is a decoder on a backbone of
            this table, whose numbers are counted in.
    """

    name: str
    module: str
    year: int
    authors: str
    title: str
    parameters: int
    macs: int
    num_classes: int = 1000
    in_chans: int = 3
    image_size: tuple[int, int] = (224, 224)
    with_aux_heads: int | None = None
    smaller: str | None = None
    backbone: bool = True
    task: str = "classify"

    @property
    def build(self) -> "Callable[..., ImageClassifier]":
        """The function that makes the network."""
        builder: Callable[..., ImageClassifier] = getattr(self._file(), self.name)
        return builder

    @property
    def peer_names(self) -> tuple[tuple[str, str], ...]:
        """Patterns of tensors' names in other libraries' weights, and what they are called here."""
        names: tuple[tuple[str, str], ...] = getattr(self._file(), "PEER_NAMES", ())
        return names

    def _file(self) -> object:
        package = "models" if self.task == "classify" else "segmentation"
        return import_module(f"striate.{package}.{self.module}")


_LECUN = (1998, "LeCun et al.", "Gradient-based learning applied to document recognition")
_CHOLLET_MNIST = (2015, "Chollet et al.", "Keras: MNIST example")
_KRIZHEVSKY = (2012, "Krizhevsky et al.", "ImageNet classification with deep convolutional neural networks")
_SPRINGENBERG = (2015, "Springenberg et al.", "Striving for simplicity: the all convolutional net")
_OWT = (2014, "Krizhevsky", "One weird trick for parallelizing convolutional neural networks")
_VGG = (2015, "Simonyan et al.", "Very deep convolutional networks for large-scale image recognition")
_SZEGEDY = (2015, "Szegedy et al.", "Going deeper with convolutions")
_HE = (2016, "He et al.", "Deep residual learning for image recognition")
_HU = (2018, "Hu et al.", "Squeeze-and-excitation networks")
_CHOLLET = (2017, "Chollet", "Xception: deep learning with depthwise separable convolutions")
_IANDOLA = (2016, "Iandola et al.", "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters")
_SANDLER = (2018, "Sandler et al.", "MobileNetV2: inverted residuals and linear bottlenecks")

ZOO = {
    entry.name: entry
    for entry in (
        Entry("lenet5", "lenet", *_LECUN, 61_706, 416_520, 10, 1, (32, 32), smaller="lenet5_28"),
        Entry("lenet5_28", "lenet", *_LECUN, 44_426, 281_640, 10, 1, (28, 28)),
        Entry("mlp", "mlp", *_LECUN, 238_510, 238_200, 10, 1, (28, 28), backbone=False),
        Entry("mnist_cnn", "mnist_cnn", *_CHOLLET_MNIST, 1_662_794, 12_670_720, 10, 1, (28, 28), smaller="lenet5_28"),
        Entry(
            "strided_cnn_28", "strided_cnn", *_SPRINGENBERG, 308_938, 12_490_240, 10, 1, (28, 28), smaller="lenet5_28"
        ),
        Entry("alexnet", "alexnet", *_KRIZHEVSKY, 60_965_224, 724_406_816),
        Entry("alexnet_owt", "alexnet", *_OWT, 61_100_840, 714_188_480),
        Entry("alexnet_28", "alexnet", *_KRIZHEVSKY, 5_624_842, 34_606_080, 10, 1, (28, 28), smaller="mnist_cnn"),
        Entry("vgg11", "vgg", *_VGG, 132_863_336, 7_609_090_048),
        Entry("vgg13", "vgg", *_VGG, 133_047_848, 11_308_466_176, smaller="vgg11"),
        Entry("vgg16", "vgg", *_VGG, 138_357_544, 15_470_264_320, smaller="vgg13"),
        Entry("vgg16_bn", "vgg", *_VGG, 138_365_992, 15_470_264_320, smaller="vgg13"),
        Entry("vgg19", "vgg", *_VGG, 143_667_240, 19_632_062_464, smaller="vgg16"),
        Entry("googlenet", "googlenet", *_SZEGEDY, 6_998_552, 1_582_671_872, with_aux_heads=13_378_280),
        Entry("googlenet_bn", "googlenet", *_SZEGEDY, 6_624_904, 1_498_376_192, with_aux_heads=13_004_888),
        Entry("resnet18", "resnet", *_HE, 11_689_512, 1_814_073_344),
        Entry("resnet34", "resnet", *_HE, 21_797_672, 3_663_761_408, smaller="resnet18"),
        Entry("resnet50", "resnet", *_HE, 25_557_032, 4_089_184_256, smaller="resnet34"),
        Entry("resnet101", "resnet", *_HE, 44_549_160, 7_801_405_440, smaller="resnet50"),
        Entry("resnet152", "resnet", *_HE, 60_192_808, 11_513_626_624, smaller="resnet101"),
        Entry("plain18", "resnet", *_HE, 11_515_688, 1_794_805_760),
        Entry("plain34", "resnet", *_HE, 21_623_848, 3_644_493_824, smaller="plain18"),
        Entry("se_googlenet", "googlenet", *_HU, 7_478_655, 1_583_146_144, with_aux_heads=13_858_383),
        Entry("seresnet18", "senet", *_HU, 11_778_592, 1_814_160_384),
        Entry("seresnet50", "senet", *_HU, 28_088_024, 3_860_488_192, smaller="seresnet18"),
        Entry("seresnet152", "senet", *_HU, 66_821_848, 11_288_993_792, smaller="seresnet50"),
        Entry("senet154", "senet", *_HU, 115_088_984, 20_688_363_520, smaller="seresnet152"),
        Entry("xception", "xception", *_CHOLLET, 22_855_952, 8_357_403_496, image_size=(299, 299)),
        Entry("squeezenet1_0", "squeezenet", *_IANDOLA, 1_248_424, 818_924_576),
        Entry("mobilenet_v2", "mobilenet", *_SANDLER, 3_504_872, 300_774_272),
    )
}


def find_model(name: str) -> Entry:
    """Return the zoo's entry of that name.

    Raises:
        UsageError: for an unknown name, with the nearest known ones.
    """
    if name not in ZOO:
        raise UsageError(expected="a network of the zoo", received=repr(name), remedy=nearest(name, ZOO))
    return ZOO[name]


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the zoo's networks that match a shell pattern, in order of name.

    >>> list_models("lenet*")
    ['lenet5', 'lenet5_28']
    """
    return sorted(name for name in ZOO if fnmatchcase(name, pattern))


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    image_size: int | Sequence[int] | None = None,
    pretrained: str | Path | None = None,
    frozen_norm: bool | None = None,
    **options: Any,
) -> "ImageClassifier":
    """Build a network of the zoo with fresh weights, on torch's default device and in its default dtype.

    Args:
        name: one of `list_models`.
        num_classes: logits per image; the paper's number by default.
        in_chans: channels of the images; the paper's by default.
        image_size: (height, width) of the images, or one number for both; the paper's by default. A network that takes
            images of any size only checks that something is left of these.
        pretrained: a safetensors file, under our names of the tensors or those of torchvision or timm (its ``legacy_``
            networks for squeeze-and-excitation and Xception); or a run folder or folder of weights, whose config then
            says what is not said here; or ``hub``, to fetch published ones. Auxiliary heads are taken where the network
            has them. With another number of classes all but the layers that give logits is taken, and a warning says
            so.
        frozen_norm: whether batch norm keeps its statistics in training too; by default where the pretrained weights
            want it: their config says so, or their batch norm is folded into the convolutions.
        options: the network's own, such as ``hidden_sizes`` of ``mlp``, ``drop_rate``, ``output_stride``; and of one
            that takes images of any size ``stem_stride``, of its first convolution: a multiple of the paper's, which
            makes all maps smaller by as much.

    Raises:
        UsageError: for an unknown name or option, or a size that the network cannot take.
        StriateError: for weights that are not this network's, listing what is missing, left over or of another shape.
    """
    entry = find_model(name)
    weights = None if pretrained is None else open_pretrained(pretrained, name)
    config = None if weights is None else weights.config
    if config is not None:
        options = config.model_options | options
        num_classes = config.num_classes if num_classes is None else num_classes
        in_chans = config.in_chans if in_chans is None else in_chans
        image_size = config.image_size if image_size is None else image_size
        frozen_norm = config.frozen_norm if frozen_norm is None else frozen_norm
    network = _build(entry, num_classes, in_chans, image_size, options)
    if weights is not None:
        fresh = fill(network, name, weights.file)
        if fresh:
            warnings.warn(
                f"{weights.origin} is for another number of classes than {network.num_classes}: all is taken from it "
                f"but {', '.join(fresh)}, which begins afresh",
                stacklevel=2,
            )
    from striate.blocks.normalisation import freeze_norms, norms_are_folded

    if frozen_norm is None:
        frozen_norm = weights is not None and norms_are_folded(network)
    if frozen_norm:
        freeze_norms(network)
    return network


def fill(network: "ImageClassifier", name: str, source: Path) -> list[str]:
    """Put weights into the network ``name``; return its layers that begin afresh, for another number of classes.

    Raises:
        StriateError: for weights that are not this network's, listing what is missing, left over or of another shape.
    """
    entry = find_model(name)
    return load_pretrained(network, name, source, entry.peer_names, entry.with_aux_heads is not None)


def _build(
    entry: Entry,
    num_classes: int | None,
    in_chans: int | None,
    image_size: int | Sequence[int] | None,
    options: dict[str, Any],
) -> "ImageClassifier":
    from striate.blocks.classifier import map_size, stretch_stem

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
        default = known[option].default
        if isinstance(default, bool) and not isinstance(options[option], bool):
            raise UsageError(
                expected=f"{option} of {entry.name} as true or false",
                received=repr(options[option]),
                remedy="Several options are given one by one: --model-kwargs a=1 --model-kwargs b=2.",
            )
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size or entry.image_size)
    chosen: dict[str, Any] = {
        "num_classes": entry.num_classes if num_classes is None else num_classes,
        "in_chans": entry.in_chans if in_chans is None else in_chans,
        "image_size": size,
    }
    for key, value in chosen.items():
        if min(value if isinstance(value, tuple) else (value,)) < 1:
            raise UsageError(expected=f"{key} of 1 or more", received=str(value), remedy="Give a positive number.")
    try:
        network = entry.build(**{key: value for key, value in chosen.items() if key in known}, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(
            expected=f"values that {entry.name} takes",
            received=f"{options}: {error}",
            remedy=f"See help(striate.models.{entry.module}).",
        ) from error
    if stem_stride is not None:
        stretch_stem(entry.name, network, stem_stride)
    if network.image_size is None and (size != entry.image_size or stem_stride is not None):
        map_size(entry.name, network.features, chosen["in_chans"], (size[0], size[1]))
    return network


def build_network(config: WeightsConfig) -> "ImageClassifier":
    """Build the network that a config describes, with fresh weights."""
    return create_model(
        config.model,
        num_classes=config.num_classes,
        in_chans=config.in_chans,
        image_size=config.image_size,
        frozen_norm=config.frozen_norm,
        **config.model_options,
    )


def load_network(folder: str | Path) -> tuple["ImageClassifier", WeightsConfig]:
    """Rebuild a trained network, in evaluation mode, with the config that says how to feed it.

    Args:
        folder: a run folder (its best weights are taken) or a folder with the two files.

    Raises:
        StriateError: where files are missing, damaged, or of another network.
    """
    config = read_weights_config(find_weights(folder))
    return create_model(config.model, pretrained=folder).eval(), config
