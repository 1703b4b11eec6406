"""What every network of the zoo promises, as types and the two helpers that keep the promise."""

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from striate.errors import StriateError
from striate.units import format_size


class FeatureInfo(NamedTuple):
    """One feature map of a backbone: its name, its channels, and how many input pixels lie between its neighbours."""

    name: str
    channels: int
    stride: int


class Classifier(Protocol):
    """A network that says which class an image shows."""

    num_classes: int

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, N x classes, for images N x C x H x W; in training too."""
        ...

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer by a fresh one for ``num_classes`` classes; all else keeps its weights."""
        ...


class Backbone(Protocol):
    """A network used for its feature maps."""

    feature_info: tuple[FeatureInfo, ...]

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map."""
        ...

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the last map at each stride, by the names and in the order of ``feature_info``."""
        ...


def feature_maps(stages: nn.Sequential, x: Tensor) -> dict[str, Tensor]:
    """Run ``stages`` and return the output of each by name."""
    maps = {}
    for name, stage in stages.named_children():
        x = maps[name] = stage(x)
    return maps


def fresh_linear(old: nn.Linear, num_classes: int) -> nn.Linear:
    """Return a newly initialised dense layer like ``old`` but with ``num_classes`` outputs, on the same device."""
    weight = old.weight
    return nn.Linear(old.in_features, num_classes, old.bias is not None, device=weight.device, dtype=weight.dtype)


def expect_image_size(x: Tensor, image_size: tuple[int, int], name: str) -> None:
    """Refuse images of another size than the dense layers of ``name`` were built for.

    Raises:
        StriateError: naming both sizes.
    """
    if x.shape[-2:] != image_size:
        raise StriateError(
            expected=f"images of {format_size(image_size)} pixels, for which this {name} was built",
            received=format_size((x.shape[-2], x.shape[-1])),
            remedy="Resize the images, or build the network with their image_size.",
        )
