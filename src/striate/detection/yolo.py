"""YOLO: boxes and classes of a whole image from one look, by a dense layer.

Redmon, Divvala, Girshick and Farhadi, "You only look once: unified, real-time object detection", 2016. What it brought:
no proposals and no regions that are looked at one by one; the image is cut into S x S cells, and one pass says of each
cell B boxes, how sure each is, and which class is there. It is fast, and sees all of the image at once; but each cell
says one class, and of things whose middles lie in one cell only one can be learned (section 2.4). With K classes, 2
boxes in each of 7 x 7 cells, on an image of 448 x 448:

    step                                    gives
    backbone                                a map of 1/32: 14 x 14
    four 3 x 3 convolutions, leaky ReLU     C x 7 x 7: the second has a stride of 2
    dropout, dense layer                    7 x 7 x (2 · 5 + K)
    for each class, the best, suppressed

Of a cell's box it says the middle, in cells, the square roots of its sides, as shares of the image's, and how sure it
is that something is there, which is to be the IoU with it; of a cell, the probability of each class. All are learned by
squared errors (equation 3).

Deviations: on any backbone, where the paper has 20 convolutions of its own; C is 256, where it has 1,024; one dense
layer, where it has two (its authors' program has one, too, on 256 maps, behind a layer that is locally connected). A
dense layer learns of each cell by itself, and of a few hundred images next to nothing: so it begins as a convolution,
each cell looking at its own place of the maps, all with the same weights, and what it looks at is divided by ten times
the number of cells, without which a step that suits the convolutions would be far too large for so many weights. The
convolutions have batch norm, as in the authors' next paper ("YOLO9000", 2017, section 2); the second has a stride of 1
where fewer places than cells would be left. The last layer's biases begin with boxes in the middles of their cells that
have the shapes of the training images' things. Of things in one cell the first is learned. Suppression allows an IoU of
one half; 100 results an image at most.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from striate.blocks.classifier import expect_size, find_stem, map_size
from striate.blocks.convolution import convolution
from striate.blocks.initialisation import initialise
from striate.blocks.network import Images, Network
from striate.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from striate.detection.cells import Assigned, at_things, background, is_first, taken
from striate.detection.clusters import cluster_sides
from striate.detection.detector import Detector
from striate.detection.found import Detected
from striate.detection.postprocess import PostProcessBoxes
from striate.detection.targets import Truths, pick
from striate.errors import UsageError

STRIDE = 32
SAID = 5  # Numbers of a box: its middle, the square roots of its sides, its confidence.
OF_BOXES, OF_NOTHING = 5.0, 0.5  # λ_coord and λ_noobj of equation 3.
SLOWER = 10  # By what the dense layer learns more slowly, besides the number of cells.
QUIET = 0.1  # Standard deviation of what it says at first, so that maps are not made small to silence it.
SLOPE = 0.1  # Of the leaky ReLU, below 0.
LEAST_SCORE, OVERLAP, MOST = 0.01, 0.5, 100  # Of what is said to be found: score, IoU, number.

LEAKY = partial(nn.LeakyReLU, SLOPE, inplace=True)


class Said(NamedTuple):
    """What is said of the cells of some images, row by row.

    Args:
        boxes: of each cell: middle, in cells, from the cell's corner, square roots of the sides, as shares of the
            image's, and confidence; those of one cell together.
        classes: of each cell, the probability of each class.
    """

    boxes: Float[Tensor, "N P 5"]
    classes: Float[Tensor, "N cells K"]


class YOLO(Detector):
    """A grid of cells, each of which says a few boxes and one class.

    Args:
        backbone: with a map of stride 32.
        num_classes: of things.
        image_size: (height, width) of the images.
        grid: (rows, columns) of cells.
        boxes: of each cell.
        channels: of the convolutions.
        drop_rate: dropout of what the dense layer looks at.
    """

    def __init__(
        self,
        backbone: Network,
        num_classes: int,
        *,
        image_size: tuple[int, int],
        grid: tuple[int, int],
        boxes: int,
        channels: int,
        drop_rate: float,
    ) -> None:
        super().__init__(backbone, (STRIDE,))
        self.image_size, self.grid, self.each = image_size, grid, boxes
        stem = find_stem(self.features)
        assert stem is not None, "a network with a map of stride 32 has convolutions"
        places = map_size("yolo", self.features, stem.in_channels, image_size)
        halved = [-(-side // 2) for side in places]
        has_enough = all(half >= cells for half, cells in zip(halved, grid, strict=True))
        plain = partial(convolution, activation=LEAKY)
        self.convolutions = nn.Sequential(
            OrderedDict(
                first=plain(self.infos[0].channels, channels, 3),
                second=plain(channels, channels, 3, stride=2 if has_enough else 1),
                third=plain(channels, channels, 3),
                fourth=plain(channels, channels, 3),
            )
        )
        initialise(self.convolutions, "he")
        self.cells = nn.Sequential(
            OrderedDict(pool=nn.AdaptiveAvgPool2d(grid), flatten=nn.Flatten(), drop=nn.Dropout(drop_rate))
        )
        self.said = nn.Linear(channels * self.count, self._numbers(num_classes))
        self._begin(self.said)
        self.postprocess = PostProcessBoxes(LEAST_SCORE, OVERLAP, MOST)

    def forward(self, x: Images) -> Detected:
        """Return what is in images of the network's size, 100 things each at most.

        Raises:
            StriateError: for images of another size.
        """
        said = self.look(x)
        confidence, classes = said.boxes[..., 4:].clamp(0, 1), said.classes.clamp(0, 1)
        scores = confidence * classes.repeat_interleave(self.each, 1)
        found: Detected = self.postprocess(self.decode(said.boxes), scores, x.shape[2:])
        return found

    def losses(self, images: Images, *truths: Tensor) -> dict[str, Tensor]:
        """Return the five lines of equation 3, each summed over an image's cells, the mean over the images."""
        return grid_losses(self, self.look(images), Truths(*truths))

    def look(self, x: Images) -> Said:
        """Return what is said of all cells."""
        expect_size(x, self.image_size)
        numbers: Tensor = self.said(self.cells(self.convolutions(self.features(x))) / (SLOWER * self.count))
        of_cells = numbers.view(len(x), self.count, -1).float()
        of_boxes = SAID * self.each
        return Said(of_cells[..., :of_boxes].reshape(len(x), -1, SAID), of_cells[..., of_boxes:])

    def decode(self, said: Float[Tensor, "N P 5"]) -> Float[Tensor, "N P 4"]:
        """Return the boxes that are said, xyxy."""
        step, whole = self._scales(said)
        cells = torch.arange(said.shape[1], device=said.device) // self.each
        corners = torch.stack([cells % self.grid[1], cells // self.grid[1]], -1)
        return cxcywh_to_xyxy(torch.cat([(said[..., :2] + corners) * step, said[..., 2:4].square() * whole], -1))

    def encode(self, xyxy: Float[Tensor, "N M 4"]) -> tuple[Int64[Tensor, "N M"], Float[Tensor, "N M 4"]]:
        """Return in which cells the middles of boxes lie, and what is to be said of them there, of no confidence."""
        step, whole = self._scales(xyxy)
        boxes = xyxy_to_cxcywh(xyxy)
        inside = boxes[..., :2] / step
        last = torch.tensor([self.grid[1] - 1, self.grid[0] - 1], device=xyxy.device)
        corner = inside.long().clamp_min(0).minimum(last)
        cells = corner[..., 1] * self.grid[1] + corner[..., 0]
        return cells, torch.cat([inside - corner, (boxes[..., 2:] / whole).sqrt()], -1)

    @torch.no_grad()
    def fit_anchors(self, sides: Float[Tensor, "K 2"]) -> None:
        """Have the boxes of each cell begin with the shapes around which those of things lie."""
        shapes = cluster_sides(sides, self.each)
        roots = (shapes / self._scales(shapes)[1]).sqrt()
        self._of_boxes(self.said)[..., 2:4] = roots.to(self.said.bias)

    @property
    def count(self) -> int:
        """Cells."""
        return self.grid[0] * self.grid[1]

    @property
    def num_classes(self) -> int:
        """Classes of things."""
        return super().num_classes // self.count - SAID * self.each

    def output_layers(self) -> list[str]:
        """Return the last layer."""
        return ["said"]

    def fresh(self, layer: nn.Module, num_classes: int) -> nn.Module:
        """Return a last layer for so many classes."""
        made = super().fresh(layer, self._numbers(num_classes))
        self._begin(made)
        return made

    def _numbers(self, num_classes: int) -> int:
        return self.count * (SAID * self.each + num_classes)

    def _scales(self, like: Tensor) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"]]:
        """Return width and height of a cell, and of the image."""
        assert self.image_size is not None
        height, width = self.image_size
        sizes = [width / self.grid[1], height / self.grid[0]], [width, height]
        step, whole = (torch.tensor(size, device=like.device, dtype=torch.float32) for size in sizes)
        return step, whole

    def _of_boxes(self, layer: nn.Module) -> Float[Tensor, "cells B 5"]:
        """Return the biases of a last layer that are of boxes."""
        assert isinstance(layer.bias, Tensor)
        return layer.bias.view(self.count, -1)[:, : SAID * self.each].view(self.count, self.each, SAID)

    @torch.no_grad()
    def _begin(self, layer: nn.Module) -> None:
        """Have a last layer begin as a convolution, and with boxes in the middles of their cells."""
        assert isinstance(layer, nn.Linear)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        own = layer.weight.view(self.count, -1, layer.in_features // self.count, self.count)
        shared = torch.randn(own.shape[1:3], device=own.device, dtype=own.dtype) / own.shape[2] ** 0.5
        own.diagonal(dim1=0, dim2=3).copy_(QUIET * SLOWER * self.count * shared.unsqueeze(2))
        self._of_boxes(layer)[..., :4] = torch.tensor([0.5, 0.5, 0.5**0.5, 0.5**0.5])


def grid_losses(network: YOLO, said: Said, truth: Truths) -> dict[str, Tensor]:
    """Return ``middles``, ``sides``, ``confidence``, ``nothing`` and ``classes``: the lines of equation 3.

    Of the boxes of a cell the one that overlaps the cell's thing most is to find it, the first of equal ones. A box
    half of which or more lies in an ignored thing need not say that nothing is there.

    Args:
        network: whose cells they are.
        said: by it.
        truth: what is in the images.
    """
    with torch.no_grad():
        cells, wanted = network.encode(truth.xyxy)
        learned = is_first(cells, truth.valid)
        boxes = network.decode(said.boxes)
        theirs = pick(boxes.view(len(boxes), -1, network.each, 4), cells)
        overlap, best = iou(theirs, truth.xyxy.unsqueeze(2)).max(2)
        responsible = Assigned(cells * network.each + best, learned)
        is_nothing = background(boxes, truth, inf) & ~taken(responsible, boxes.shape[1])
        kinds = (truth.labels.unsqueeze(2) == torch.arange(said.classes.shape[2], device=learned.device)).float()
    own = at_things(said.boxes, responsible)
    off = (own[..., :4] - wanted).square()
    of_classes = (pick(said.classes, cells) - kinds).square().sum(2)
    return {
        "middles": OF_BOXES * (off[..., :2].sum(2) * learned).sum(1).mean(),
        "sides": OF_BOXES * (off[..., 2:].sum(2) * learned).sum(1).mean(),
        "confidence": ((own[..., 4] - overlap).square() * learned).sum(1).mean(),
        "nothing": OF_NOTHING * (said.boxes[..., 4].square() * is_nothing).sum(1).mean(),
        "classes": (of_classes * learned).sum(1).mean(),
    }


def yolo(
    backbone: Network,
    *,
    num_classes: int = 20,
    image_size: tuple[int, int] = (448, 448),
    grid: int | Sequence[int] = 7,
    boxes: int = 2,
    channels: int = 256,
    drop_rate: float = 0.5,
) -> YOLO:
    """Build the paper's network.

    Args:
        backbone: with a map of stride 32.
        num_classes: of things.
        image_size: (height, width) of the images.
        grid: cells down and across, or one number for both.
        boxes: of each cell.
        channels: of the convolutions.
        drop_rate: dropout of what the dense layer looks at.
    """
    cells = (grid, grid) if isinstance(grid, int) else tuple(grid)
    if len(cells) != 2 or min(*cells, boxes) < 1:
        raise UsageError(
            expected="of yolo grid as a number or a pair, and boxes as a number, of 1 or more",
            received=f"grid={grid}, boxes={boxes}",
            remedy="The paper has grid=7 and boxes=2; grid=[6,8] is 6 cells down and 8 across.",
        )
    return YOLO(
        backbone,
        num_classes,
        image_size=image_size,
        grid=(cells[0], cells[1]),
        boxes=boxes,
        channels=channels,
        drop_rate=drop_rate,
    )
