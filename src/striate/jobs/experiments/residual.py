"""Why residual networks work: their paths, and what is left when blocks are taken out or exchanged.

Veit, Wilber and Belongie, "Residual networks behave like ensembles of relatively shallow networks", 2016. Of n blocks
y = x + f(x) each doubles the ways through the network: n over k paths lead through k of the f. Blocks can be taken out
(section 4.1), several of them (4.2), or exchanged (4.3), and little happens; in a network without shortcuts, each is
all that there is. Which paths carry the gradient (section 5) is measured by letting it back through the f of k blocks,
and past those of all others. He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016: the deeper a
plain network is, the worse it learns, although it could do what a shallow one does.
"""

from collections.abc import Collection, Iterator, Sequence
from math import comb

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.jobs.experiments.fitting import SmallSet, accuracy, fit, read_small
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE, WIDTH = 8, 16
DEEP, SHALLOW = 16, 4  # Blocks.
BATCH, EPOCHS, RATE = 32, 6, 3e-3
DRAWS = 5  # Of blocks that are taken out or exchanged, and of paths.
SEEN = 64  # Images whose gradients are looked at.


class Blocks(nn.Module):
    """Blocks of two convolutions each, with shortcuts past them or without, and a dense layer behind their mean.

    Args:
        count: of blocks.
        classes: of images.
        shortcuts: whether a block adds to what comes in, or replaces it.
    """

    def __init__(self, count: int, classes: int, *, shortcuts: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(_block() for _ in range(count))
        self.norm, self.head = nn.BatchNorm2d(WIDTH), nn.Linear(WIDTH, classes)
        self.shortcuts = shortcuts

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


class _Ordered(nn.Module):
    """A network with only some of its blocks, in some order."""

    def __init__(self, network: Blocks, order: Sequence[int]) -> None:
        super().__init__()
        self.network, self.order = network, order

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x, self.order)
        return logits


def without(network: Blocks, given: SmallSet, gone: Collection[int]) -> float:
    """Return the accuracy of a network with some blocks taken out."""
    left = [place for place in range(len(network.blocks)) if place not in gone]
    return accuracy(_Ordered(network, left), given.unseen, given.truth)


def gradient_through(network: Blocks, given: SmallSet, through: Collection[int] | None) -> Tensor:
    """Return the loss's gradient by some images, as far as it comes back through the layers of some blocks alone.

    Over all sets of blocks these add up to the whole gradient.

    Args:
        network: with shortcuts; it is put into evaluation mode.
        given: images.
        through: the blocks; None for the whole gradient.
    """
    network.eval()
    images = given.images[:SEEN].clone().requires_grad_()
    loss = F.cross_entropy(network(images, through=through), given.labels[:SEEN], reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    return gradient


def compare_residual(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train networks with and without shortcuts, deep and shallow, and take them apart; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, of what is kept to test on, and of blocks and paths that are drawn.
    """
    given = read_small(data, SIDE, seed)
    kinds = [(count, shortcuts) for shortcuts in (True, False) for count in (DEEP, SHALLOW)]
    rows: list[tuple[Cell, ...]] = []
    fewer: dict[str, list[tuple[float, float]]] = {}
    losses: dict[str, list[tuple[float, float]]] = {}
    paths: tuple[Chart, ...] = ()
    for place, (count, shortcuts) in enumerate(kinds):
        torch.manual_seed(seed)
        network = Blocks(count, given.classes, shortcuts=shortcuts)
        name = f"{count} {'residual' if shortcuts else 'plain'} blocks"
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        losses[name] = yield from fit(network, given, optimizer, EPOCHS, BATCH, seed, (place, len(kinds)))
        draws = torch.Generator().manual_seed(seed)
        one = [without(network, given, {block}) for block in range(count)]
        fewer[name] = [
            (float(gone), _mean_without(network, given, gone, draws)) for gone in range(0, count, max(count // 8, 1))
        ]
        orders = [torch.randperm(count, generator=draws).tolist() for _ in range(DRAWS)]
        shuffled = [accuracy(_Ordered(network, order), given.unseen, given.truth) for order in orders]
        rows.append(
            (
                name,
                2 * count + 2,
                sum(parameter.numel() for parameter in network.parameters()),
                *(f"{share:.1%}" for share in (accuracy(network, given.images, given.labels), fewer[name][0][1])),
                *(f"{share:.1%}" for share in (sum(one) / count, min(one), sum(shuffled) / DRAWS)),
            )
        )
        if shortcuts and count == DEEP:
            paths = _paths(network, given, draws)
    yield Outcome(
        "Why do residual networks work?",
        f"Blocks of two 3x3 convolutions of {WIDTH} maps with batch norm, on {len(given.images):,} images of "
        f"{given.name}; {EPOCHS} epochs with Adam, batches of {BATCH}, seed {seed}; judged by {len(given.unseen):,} "
        "others.",
        (
            "network",
            "layers",
            "parameters",
            "accuracy in training",
            "accuracy",
            "one block taken out, mean",
            "the worst of these",
            "blocks exchanged at random",
        ),
        tuple(rows),
        (
            Chart("Blocks taken out", "blocks gone, at random", "accuracy", fewer),
            *paths,
            Chart("Loss of each step", "step", "loss", losses, log=True),
        ),
    )


def _mean_without(network: Blocks, given: SmallSet, gone: int, draws: torch.Generator) -> float:
    count = len(network.blocks)
    chosen = [torch.randperm(count, generator=draws)[:gone].tolist() for _ in range(DRAWS if gone else 1)]
    return sum(without(network, given, each) for each in chosen) / len(chosen)


def _paths(network: Blocks, given: SmallSet, draws: torch.Generator) -> tuple[Chart, ...]:
    """Return how many paths there are of each length, and which share of all gradient they carry."""
    count = len(network.blocks)
    sizes = []
    for length in range(count + 1):
        chosen = [torch.randperm(count, generator=draws)[:length].tolist() for _ in range(DRAWS)]
        sizes.append(sum(float(gradient_through(network, given, each).norm()) for each in chosen) / DRAWS)
    carried = [comb(count, length) * size for length, size in enumerate(sizes)]
    numbers = {"of all paths": [comb(count, length) / 2**count for length in range(count + 1)]}
    numbers["of all gradient"] = [each / sum(carried) for each in carried]
    shares = {name: [(float(length), share) for length, share in enumerate(each)] for name, each in numbers.items()}
    single = {"a path": [(float(length), size) for length, size in enumerate(sizes)]}
    return (
        Chart(f"Paths through {count} blocks, by how many of them they go through", "blocks", "share", shares),
        Chart("Gradient that comes back on a single path", "blocks that it goes through", "size", single, log=True),
    )
