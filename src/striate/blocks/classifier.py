"""The frame of every classifier: layers that make maps, one after the other, then a head that makes logits."""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from striate.blocks.contract import FeatureInfo
from striate.blocks.network import Images, Network
from striate.errors import StriateError, UsageError
from striate.units import format_size

LARGEST_SMALL_IMAGE = 256

Logits = Float[Tensor, "N K"]


class ImageClassifier(Network):
    """Feature layers in a row, then a head on the last map, or on the pixels where there are no feature layers.

    Args:
        features: the layers; each of ``feature_info`` names one of its children.
        feature_info: the last map at each stride.
        classifier: from the last map to logits; its last convolution or dense layer gives them.
        image_size: (height, width) for which ``classifier`` was built; None where it takes maps of any size.
    """

    def __init__(
        self,
        features: nn.Sequential,
        feature_info: tuple[FeatureInfo, ...],
        classifier: nn.Sequential,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(features, feature_info, image_size)
        self.classifier = classifier

    def forward(self, x: Images) -> Logits:
        """Return logits, N x classes, for images N x C x H x W.

        Raises:
            StriateError: for images of another size than the one that the network was built for, if it was.
        """
        expect_size(x, self.image_size)
        logits: Tensor = self.classifier(self.features(x))
        return logits

    def head_layers(self) -> list[str]:
        """Return the last layer: of published weights, all before it has learned already."""
        return self.output_layers()

    def output_layers(self) -> list[str]:
        """Return the names of the layers that give logits: all that depends on the number of classes."""
        return [f"classifier.{output_name(self.classifier)}"]


def expect_size(x: Images, image_size: tuple[int, int] | None) -> None:
    """Refuse images of another size than ``image_size``; None takes any.

    Raises:
        StriateError: with both sizes.
    """
    if image_size is not None and x.shape[-2:] != image_size:
        raise StriateError(
            expected=f"images of {format_size(image_size)} pixels, for which this network was built",
            received=format_size((x.shape[-2], x.shape[-1])),
            remedy="Resize the images, or build the network with their image_size.",
        )


def dense_head(*layers: nn.Module) -> nn.Sequential:
    """Return a head that flattens the map, then runs layers whose names are their numbers, as torchvision's are."""
    head = nn.Sequential(OrderedDict(flatten=nn.Flatten()))
    for place, layer in enumerate(layers):
        head.add_module(str(place), layer)
    return head


def pooled_head(channels: int, num_classes: int, drop_rate: float) -> nn.Sequential:
    """Return the head that takes maps of any size: the mean of each map, dropout, one dense layer.

    Global average pooling is of Lin, Chen and Yan, "Network in network", 2014, section 3.2.
    """
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            drop=nn.Dropout(drop_rate),
            output=nn.Linear(channels, num_classes),
        )
    )


def output_name(head: nn.Sequential) -> str:
    """Return which child of a head gives its logits: the last convolution or dense layer."""
    return [name for name, child in head.named_children() if isinstance(child, nn.Conv2d | nn.Linear)][-1]


def find_stem(network: nn.Module) -> nn.Conv2d | None:
    """Return a network's first convolution; None where there is none."""
    return next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)


def stretch_stem(name: str, network: Network, stride: int) -> None:
    """Give a network's first convolution a larger stride; all its maps become smaller by as much.

    Raises:
        UsageError: for a network ``name`` that was built for one size of image, since its dense layers would no longer
            fit, and for a stride that is no multiple of its own.
    """
    stem = find_stem(network)
    if stem is None or network.image_size is not None:
        raise UsageError(
            expected="stem_stride with a network of convolutions that takes images of any size",
            received=f"it with {name}",
            remedy="Give smaller images instead: --image-size.",
        )
    is_whole = isinstance(stride, int)
    factor, rest = divmod(stride, stem.stride[0]) if is_whole else (0, 0)
    if factor < 1 or rest:
        raise UsageError(
            expected=f"stem_stride as a multiple of {stem.stride[0]}, which is the first stride of {name}",
            received=repr(stride),
            remedy="Twice that takes about a fourth of the memory that maps take.",
        )
    stem.stride = stride, stride
    network.feature_info = tuple(info._replace(stride=factor * info.stride) for info in network.feature_info)


def map_size(name: str, features: nn.Module, in_chans: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of what ``features`` make of an image, without computing or allocating it.

    Raises:
        UsageError: where nothing is left of such an image, naming the smallest one that ``name`` takes.
    """
    try:
        return _map_size(features, in_chans, image_size)
    except RuntimeError as error:
        smallest = smallest_side(features, in_chans)
        if smallest is None:
            raise
        raise UsageError(
            expected=f"an image of at least {smallest}x{smallest} for {name}",
            received=format_size(image_size),
            remedy=f"Give larger images, or a larger image size (--image-size {smallest} or more).",
        ) from error


def smallest_side(features: nn.Module, in_chans: int) -> int | None:
    """Return the side of the smallest square image of which something is left; None where no small image is enough."""
    low, high = 0, LARGEST_SMALL_IMAGE  # Too small; perhaps large enough.
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _map_size(features, in_chans, (middle, middle))
            high = middle
        except RuntimeError:
            low = middle
    return high if high < LARGEST_SMALL_IMAGE else None


def _map_size(features: nn.Module, in_chans: int, image_size: tuple[int, int]) -> tuple[int, int]:
    tensors = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*features.named_parameters(), *features.named_buffers())
    }
    dtype = next((tensor.dtype for tensor in tensors.values()), None)
    # Two images, since batch norm in training refuses one value per channel.
    images = torch.empty(2, in_chans, *image_size, device="meta", dtype=dtype)
    with torch.no_grad():
        height, width = functional_call(features, tensors, (images,)).shape[-2:]
    return height, width
