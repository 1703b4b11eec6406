"""Classifiers that end in dense layers, and so take images of one size."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from striate.blocks.contract import FeatureInfo
from striate.errors import StriateError
from striate.units import format_size


class DenseClassifier(nn.Module):
    """Stages of convolutions, then dense layers on the last feature map, or on the pixels where there are no stages.

    Args:
        stages: by name, in order; each gives one feature map.
        feature_info: of those maps.
        hidden: from the last map to the output layer's input; flattens first.
        output: to the logits.
        image_size: (height, width) for which ``hidden`` was built.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        feature_info: tuple[FeatureInfo, ...],
        hidden: nn.Module,
        output: nn.Linear,
        image_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential(OrderedDict(stages))
        self.hidden = hidden
        self.output = output
        self.feature_info = feature_info
        self.image_size = image_size
        self.num_classes = output.out_features

    def features(self, x: Tensor) -> Tensor:
        """Return the last stage's maps, N x C x H x W."""
        features: Tensor = self.stages(x)
        return features

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return each stage's maps, by the names and in the order of ``feature_info``."""
        maps = {}
        for name, stage in self.stages.named_children():
            x = maps[name] = stage(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, N x classes, for images N x C x H x W of the size that the network was built for."""
        if x.shape[-2:] != self.image_size:
            raise StriateError(
                expected=f"images of {format_size(self.image_size)} pixels, for which this network was built",
                received=format_size((x.shape[-2], x.shape[-1])),
                remedy="Resize the images, or build the network with their image_size.",
            )
        logits: Tensor = self.output(self.hidden(self.features(x)))
        return logits

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the output layer by a fresh one for ``num_classes`` classes, on the same device."""
        old = self.output
        self.num_classes = num_classes
        self.output = nn.Linear(
            old.in_features, num_classes, old.bias is not None, device=old.weight.device, dtype=old.weight.dtype
        )
