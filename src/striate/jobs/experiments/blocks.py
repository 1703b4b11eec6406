"""Networks whose blocks can be taken out or exchanged."""

from collections.abc import Collection, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 16  # Maps of a block with a shortcut, or without.
STAGES = ((16, 5), (32, 5), (64, 5))  # Of a network like VGG: maps, and layers.


class Blocks(nn.Module):
    """Blocks of two convolutions each, with shortcuts past them or without, and a dense layer behind their mean.

    Args:
        count: of blocks.
        classes: of images.
        shortcuts: whether a block adds to what comes in, or replaces it.

    Attributes:
        alike: places of blocks that can be taken out, and exchanged with one another; for each stage, where there are
            stages.
    """

    def __init__(self, count: int, classes: int, *, shortcuts: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(_block() for _ in range(count))
        self.norm, self.head = nn.BatchNorm2d(WIDTH), nn.Linear(WIDTH, classes)
        self.shortcuts = shortcuts
        self.alike = [list(range(count))]

    def forward(self, x: Tensor, order: Sequence[int] | None = None, through: Collection[int] | None = None) -> Tensor:
        """Return logits.

        Args:
            x: images.
            order: which blocks run, one after the other; all by default.
            through: blocks through which gradients go back, while they go past all others; None for both ways.
        """
        x = self.stem(x)
        for place in range(len(self.blocks)) if order is None else order:
            made = self.blocks[place](x)
            if not self.shortcuts:
                x = made
            elif through is None:
                x = x + made
            else:
                x = x.detach() + made if place in through else x + made.detach()
        logits: Tensor = self.head(F.relu(self.norm(x)).mean((2, 3)))
        return logits


def _block() -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]
    return nn.Sequential(*layers)


class Chain(nn.Module):
    """Stages of 3x3 convolutions, each with batch norm and ReLU, as VGG has them, and max pooling between stages.

    A block is one layer. The first of a stage changes the number of maps, so that it cannot be taken out.

    Args:
        classes: of images.

    Attributes:
        alike: as those of `Blocks`.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.blocks, self.alike = nn.ModuleList(), list[list[int]]()
        before = 1
        for width, count in STAGES:
            self.alike.append(list(range(len(self.blocks) + 1, len(self.blocks) + count)))
            for place in range(count):
                pool = [nn.MaxPool2d(2)] if self.blocks and place == 0 else []
                convolution = nn.Conv2d(before, width, 3, padding=1, bias=False)
                self.blocks.append(nn.Sequential(*pool, convolution, nn.BatchNorm2d(width), nn.ReLU()))
                before = width
        self.head = nn.Linear(before, classes)

    def forward(self, x: Tensor, order: Sequence[int] | None = None) -> Tensor:
        """Return logits.

        Args:
            x: images.
            order: which blocks run, one after the other; all by default.
        """
        for place in range(len(self.blocks)) if order is None else order:
            x = self.blocks[place](x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Ordered(nn.Module):
    """A network with only some of its blocks, in some order.

    Args:
        network: of all.
        order: which of them run, one after the other.
    """

    def __init__(self, network: Blocks | Chain, order: Sequence[int]) -> None:
        super().__init__()
        self.network, self.order = network, order

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.network(x, self.order)
        return logits
