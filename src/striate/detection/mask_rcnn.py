"""Mask R-CNN: Faster R-CNN with a third answer for each region, which of its pixels are the thing's.

He, Gkioxari, Dollár and Girshick, "Mask R-CNN", 2017. What it brought: a small convolutional network on each region,
beside the layers that say what it is and where, and RoI align, without which masks are off by as much as RoI pooling
rounds. Masks of all classes are said, each for itself, and the one of the class that the other branch chose is taken;
they are learned on the regions that are foreground. On a region:

    step                                   gives
    RoI align                              C x 14 x 14
    four 3 x 3 convolutions, ReLU          C x 14 x 14
    2 x 2 transposed convolution, ReLU     C x 28 x 28
    1 x 1 convolution                      K x 28 x 28

On a pyramid of maps, as the paper's best are. Deviations: as for `striate.detection.faster_rcnn`, and 128 channels,
where the paper has 256.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.initialisation import init_normal
from striate.blocks.network import Network
from striate.blocks.regions import roi_align
from striate.detection.faster_rcnn import FasterRCNN, Seen
from striate.detection.found import Detected
from striate.detection.losses import PROPOSALS_ONE_IN, SampledRegions
from striate.detection.region_detector import NARROW
from striate.detection.targets import Truths, pick

MASK_SIDE = 56  # Of the masks of things, within their boxes, that are learned from.
REGION, CONVOLUTIONS = 14, 4


class MaskRCNN(FasterRCNN):
    """Boxes, classes and masks.

    Args:
        backbone: whose maps are used.
        num_classes: of things.
        pyramid: whether to look at three maps, made into a pyramid.
        channels: of the pyramid's maps.
        hidden: numbers that a region becomes.
    """

    mask_side = MASK_SIDE

    def __init__(self, backbone: Network, num_classes: int, *, pyramid: bool, channels: int, hidden: int) -> None:
        super().__init__(backbone, num_classes, pyramid=pyramid, pool="align", channels=channels, hidden=hidden)
        layers: list[nn.Module] = []
        for _ in range(CONVOLUTIONS):
            layers += [nn.Conv2d(self.channels, self.channels, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(self.channels, self.channels, 2, 2), nn.ReLU(inplace=True)]
        self.mask_features = nn.Sequential(*layers)
        self.mask = nn.Conv2d(self.channels, num_classes, 1)
        init_normal(self.mask, NARROW)
        for module in self.mask_features:
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def output_layers(self) -> list[str]:
        """Return the layers that tell classes apart, those that move a box for each, and those that say its mask."""
        return [*super().output_layers(), "mask"]

    def fresh(self, layer: nn.Module, num_classes: int) -> nn.Module:
        """Return a layer like one of these, for so many classes."""
        if layer is not self.mask:
            return super().fresh(layer, num_classes)
        made = Network.fresh(self, layer, num_classes)
        init_normal(made, NARROW)
        return made

    def add_masks(self, seen: Seen, detected: Detected) -> Detected:
        """Return what was found with masks of 28 x 28 places."""
        logits = self._masks(seen, detected.boxes_xyxy, detected.labels)
        return detected._replace(masks=logits.float().sigmoid().view(*detected.labels.shape, *logits.shape[1:]))

    def mask_losses(self, seen: Seen, drawn: SampledRegions, truth: Truths) -> dict[str, Tensor]:
        """Return ``masks``: the binary cross-entropy of the mask of a region's own class (section 3)."""
        assert truth.masks is not None, "masks are read where a network learns them"
        most = -(-drawn.boxes.shape[1] // PROPOSALS_ONE_IN)  # Foreground comes first, and is no more.
        boxes, things = drawn.boxes[:, :most], drawn.things[:, :most]
        foreground = drawn.sample.foreground[:, :most]
        logits = self._masks(seen, boxes, pick(truth.labels, things))
        wanted = mask_targets(boxes, things, truth, logits.shape[-1])
        losses = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
        of_regions = losses.mean((1, 2)).view(foreground.shape)
        return {"masks": ((of_regions * foreground).sum(1) / foreground.sum(1).clamp_min(1)).mean()}

    def _masks(self, seen: Seen, boxes: Float[Tensor, "N P 4"], labels: Tensor) -> Float[Tensor, "R s s"]:
        """Return logits of one class for each box, of all boxes in a row."""
        every: Tensor = self.mask(self.mask_features(self.regions(seen.maps, boxes, REGION)))
        own = labels.view(-1, 1, 1, 1).expand(-1, 1, *every.shape[2:])
        return every.gather(1, own).squeeze(1)


@torch.no_grad()
def mask_targets(boxes: Float[Tensor, "N P 4"], things: Tensor, truth: Truths, side: int) -> Float[Tensor, "R s s"]:
    """Return which parts of each box are its thing's, 1 or 0, of all boxes in a row.

    Args:
        boxes: of each image.
        things: number of the thing that each is to find.
        truth: with masks within the things' boxes; beyond these nothing is theirs.
        side: parts of a box, across and down.
    """
    assert truth.masks is not None
    count, known = truth.masks.shape[1], truth.masks.shape[-1]
    own = pick(truth.xyxy, things)
    extent = (own[..., 2:] - own[..., :2]).clamp_min(1e-6)
    # In places of the thing's mask.
    inside = (boxes - own[..., :2].repeat(1, 1, 2)) / extent.repeat(1, 1, 2) * known
    which = (things + count * torch.arange(len(things), device=things.device)[:, None]).flatten()
    masks = truth.masks.flatten(0, 1).unsqueeze(1).to(boxes.dtype) / 255
    shares = roi_align(masks, inside.flatten(0, 1), which, (side, side), stride=1, samples=1).squeeze(1)
    return (shares >= 0.5).to(boxes.dtype)


def mask_rcnn(
    backbone: Network, *, num_classes: int = 20, pyramid: bool = True, channels: int = 128, hidden: int = 1024
) -> MaskRCNN:
    """Build the paper's network.

    Args:
        backbone: whose maps are used: that of stride 16 or, for a pyramid, those of strides 8, 16 and 32.
        num_classes: of things; the background comes besides.
        pyramid: whether to look at three maps, made into a pyramid.
        channels: of the pyramid's maps, and of the layers that make masks on them.
        hidden: numbers that a region becomes.
    """
    return MaskRCNN(backbone, num_classes, pyramid=pyramid, channels=channels, hidden=hidden)
