"""FCN: every pixel at once, from a classifier's maps.

Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", 2015, section 4 and figure 3.
What it brought: a classifier's layers, all of them convolutions, with scores of each class at each place of a map;
enlarged to the image by a layer that learns; and scores of earlier, finer maps added on the way, which see less and
know better where it is. On an image of H x W, with K classes:

    network   scores of maps      enlarged          added to
    fcn32s    K x H/32 x W/32     32 x, to the image
    fcn16s    K x H/32 x W/32     2 x               those of the map of stride 16, then 16 x
    fcn8s     K x H/32 x W/32     2 x               of stride 16, 2 x, of stride 8, then 8 x

Layers that enlarge begin as bilinear interpolation, and scores of finer maps begin at zero, so that each network begins
as the one before. Deviations: on any backbone, where the paper's is VGG-16 with its dense layers as convolutions;
images are filled up to a multiple of 32, where the paper puts 100 zeros around them; no auxiliary scaling of the
scores.
"""

from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from striate.blocks.network import Network
from striate.segmentation.segmenter import Segmenter, fitted, upsampling


class FCN(Segmenter):
    """Scores of several maps, added from the coarsest to the finest.

    Args:
        backbone: whose maps are used.
        strides: of these, the largest first, each half of the one before.
        num_classes: logits per pixel.
    """

    def __init__(self, backbone: Network, strides: tuple[int, ...], num_classes: int) -> None:
        super().__init__(backbone, strides)
        self.score = nn.ModuleDict({str(info.stride): nn.Conv2d(info.channels, num_classes, 1) for info in self.infos})
        self._begin_finer_at_zero()
        factors = [2] * (len(strides) - 1) + [strides[-1]]
        self.enlarge = nn.ModuleList(upsampling(num_classes, factor) for factor in factors)

    def decode(self, maps: dict[str, Tensor]) -> Float[Tensor, "N K H W"]:
        """Return logits for each pixel."""
        scores: Tensor | None = None
        for info, enlarge in zip(self.infos, self.enlarge, strict=True):
            own = self.score[str(info.stride)](maps[info.name])
            scores = enlarge(own if scores is None else fitted(scores, own) + own)
        assert scores is not None
        return scores

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the layers that score, and those that enlarge scores, by fresh ones."""
        super().reset_classifier(num_classes)
        self._begin_finer_at_zero()

    def _begin_finer_at_zero(self) -> None:
        for layer in list(self.score.values())[1:]:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def output_layers(self) -> list[str]:
        """Return the layers that score, and those that enlarge scores."""
        return [f"score.{name}" for name in self.score] + [f"enlarge.{place}" for place in range(len(self.enlarge))]

    def fresh(self, layer: nn.Module, num_classes: int) -> nn.Module:
        """Return a layer like one of these, for so many classes."""
        if isinstance(layer, nn.ConvTranspose2d):
            return upsampling(num_classes, layer.stride[0]).to(layer.weight)
        return super().fresh(layer, num_classes)


def build_fcn(strides: tuple[int, ...], /, backbone: Network, *, num_classes: int = 21) -> FCN:
    """Build a network of the paper's figure 3.

    Args:
        strides: of the maps that are used, the largest first.
        backbone: whose maps are used.
        num_classes: logits per pixel; 20 classes and the background by default.
    """
    return FCN(backbone, strides, num_classes)


fcn32s = partial(build_fcn, (32,))
fcn16s = partial(build_fcn, (32, 16))
fcn8s = partial(build_fcn, (32, 16, 8))
