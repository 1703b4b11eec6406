"""One table of every network: its name, who makes it, its task, image size, paper and size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any

from striate.errors import UsageError, nearest

if TYPE_CHECKING:
    from striate.blocks.network import Network


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the zoo, with the figures of its paper.

    Args:
        name: what users call it.
        module: the file that has a function of that name, below ``striate.models``, ``striate.segmentation`` or
            ``striate.detection``; loaded when first built, so that the table itself needs no torch.
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
        task: what it was made for: ``classify``, a class for each image; ``segment``, one for each pixel; ``detect``, a
            box around each thing. The last two stand on a backbone, whose parameters and multiply-adds are counted in.
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
    def build(self) -> "Callable[..., Network]":
        """The function that makes the network; of one that stands on a backbone, from that."""
        builder: Callable[..., Network] = getattr(self._file(), self.name)
        return builder

    @property
    def backbone_options(self) -> Mapping[str, Any]:
        """What its backbone is built with, unless somebody asks for other options."""
        options: Mapping[str, Any] = getattr(self._file(), "BACKBONE_OPTIONS", {})
        return options

    @property
    def mask_side(self) -> int | None:
        """Of the masks of things that it learns from; None where it learns none."""
        side: int | None = getattr(self._file(), "MASK_SIDE", None)
        return side

    @property
    def peer_names(self) -> tuple[tuple[str, str], ...]:
        """Patterns of tensors' names in other libraries' weights, and what they are called here."""
        names: tuple[tuple[str, str], ...] = getattr(self._file(), "PEER_NAMES", ())
        return names

    def _file(self) -> object:
        return import_module(self.place)

    @property
    def place(self) -> str:
        """The file as Python names it."""
        return f"striate.{_PACKAGES[self.task]}.{self.module}"


_PACKAGES = {"classify": "models", "segment": "segmentation", "detect": "detection"}
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
_LONG = (2015, "Long et al.", "Fully convolutional networks for semantic segmentation")
_RONNEBERGER = (2015, "Ronneberger et al.", "U-Net: convolutional networks for biomedical image segmentation")
_REN = (2015, "Ren et al.", "Faster R-CNN: towards real-time object detection with region proposal networks")
_GIRSHICK = (
    2014,
    "Girshick et al.",
    "Rich feature hierarchies for accurate object detection and semantic segmentation",
)
_GIRSHICK_FAST = (2015, "Girshick", "Fast R-CNN")
_HE_MASK = (2017, "He et al.", "Mask R-CNN")
_REDMON = (2016, "Redmon et al.", "You only look once: unified, real-time object detection")
_REDMON_V3 = (2018, "Redmon et al.", "YOLOv3: an incremental improvement")
_CHEN = (2017, "Chen et al.", "Rethinking atrous convolution for semantic image segmentation")

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
        Entry("fcn32s", "fcn", *_LONG, 4_057_109, 389_321_856, 21, task="segment"),
        Entry("fcn16s", "fcn", *_LONG, 2_711_450, 390_062_736, 21, task="segment"),
        Entry("fcn8s", "fcn", *_LONG, 2_380_511, 391_972_560, 21, task="segment"),
        Entry("unet", "unet", *_RONNEBERGER, 5_559_317, 1_812_802_432, 21, task="segment"),
        Entry("deeplabv3", "deeplab", *_CHEN, 12_062_485, 2_399_794_176, 21, task="segment"),
        Entry("rcnn", "rcnn", *_GIRSHICK, 14_124_901, 622_788_352_000, 20, task="detect"),
        Entry("fast_rcnn", "fast_rcnn", *_GIRSHICK_FAST, 6_513_573, 12_147_653_120, 20, task="detect"),
        Entry("faster_rcnn", "faster_rcnn", *_REN, 6_600_978, 2_017_633_664, 20, task="detect"),
        Entry("mask_rcnn", "mask_rcnn", *_HE_MASK, 11_232_008, 15_936_700_672, 20, task="detect"),
        Entry("yolo", "yolo", *_REDMON, 25_385_662, 1_881_148_416, 20, image_size=(448, 448), task="detect"),
        Entry("yolov3", "yolov3", *_REDMON_V3, 7_692_129, 3_107_977_600, 20, image_size=(416, 416), task="detect"),
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
