"""What every network of the zoo is: feature layers that make maps, and layers on these that depend on the classes."""

from abc import ABC, abstractmethod
from collections.abc import Collection

from jaxtyping import Float
from torch import Tensor, nn

from striate.blocks.contract import FeatureInfo
from striate.errors import UsageError

Images = Float[Tensor, "N C H W"]


class Network(nn.Module, ABC):
    """Feature layers in a row, and whatever follows them.

    Args:
        features: the layers; each of ``feature_info`` names one of its children.
        feature_info: the last map at each stride.
        image_size: (height, width) for which it was built; None where it takes images of any size.
    """

    def __init__(
        self, features: nn.Sequential, feature_info: tuple[FeatureInfo, ...], image_size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.features, self.feature_info, self.image_size = features, feature_info, image_size

    @abstractmethod
    def output_layers(self) -> list[str]:
        """Return the names of the layers that give logits: all that depends on the number of classes."""

    def head_layers(self) -> list[str]:
        """Return the names of what learns first where the feature layers have learned already: all other parts."""
        others = [(name, child) for name, child in self.named_children() if name != "features"]
        return [name for name, child in others if any(True for _ in child.parameters())]

    @property
    def num_classes(self) -> int:
        """Logits per image, or per pixel."""
        layer = self.get_submodule(self.output_layers()[0])
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        return layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features

    def feature_maps(self, x: Images) -> dict[str, Tensor]:
        """Return the last map at each stride, by the names and in the order of ``feature_info``."""
        outputs = self.outputs_of(x, {info.module or info.name for info in self.feature_info})
        return {info.name: outputs[info.module or info.name] for info in self.feature_info}

    def outputs_of(self, x: Images, children: Collection[str]) -> dict[str, Tensor]:
        """Return what some children of ``features`` give, by their names."""
        outputs = {}
        for name, child in self.features.named_children():
            x = child(x)
            if name in children:
                outputs[name] = x
        return outputs

    def map_at(self, stride: int) -> FeatureInfo:
        """Return which map has a stride; the last, where there are several.

        Raises:
            UsageError: where none has, naming the strides that there are.
        """
        found = [info for info in self.feature_info if info.stride == stride]
        if not found:
            have = ", ".join(str(info.stride) for info in self.feature_info)
            raise UsageError(
                expected=f"a backbone with a map of stride {stride}",
                received=f"one with strides {have or 'of none: it has no maps'}",
                remedy="Such as mobilenet_v2, resnet18 or vgg16.",
            )
        return found[-1]

    def reset_classifier(self, num_classes: int) -> None:
        """Replace what gives logits by fresh layers for ``num_classes`` classes, on the same device.

        Raises:
            UsageError: for fewer than one class.
        """
        if num_classes < 1:
            raise UsageError(
                expected="num_classes of 1 or more",
                received=str(num_classes),
                remedy="For a network without its head, use features or feature_maps.",
            )
        for name in self.output_layers():
            self.set_submodule(name, self.fresh(self.get_submodule(name), num_classes))

    def fresh(self, layer: nn.Module, num_classes: int) -> nn.Module:
        """Return a layer like one that gives logits, with fresh weights for so many classes."""
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        bias, device, dtype = layer.bias is not None, layer.weight.device, layer.weight.dtype
        if isinstance(layer, nn.Conv2d):
            assert layer.kernel_size == (1, 1), "an output layer sees one place of the map"
            return nn.Conv2d(layer.in_channels, num_classes, 1, bias=bias, device=device, dtype=dtype)
        return nn.Linear(layer.in_features, num_classes, bias, device, dtype)
