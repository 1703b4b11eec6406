"""Why residual networks work: their paths, and what is left when blocks are taken out or exchanged.

Veit, Wilber and Belongie, "Residual networks behave like ensembles of relatively shallow networks", 2016. Of n blocks y
= x + f(x) each doubles the ways through the network: n over k paths lead through k of the f. Blocks can be taken out
(section 4.1), and of the paper's 54 each is so little that its network hardly notices; in a network without shortcuts,
each is all that there is, and VGG without any one of its layers is left to chance (figure 3). With several blocks gone
(4.2), or several pairs of them exchanged (4.3), which leaves the order less and less like the one that was learned, the
error grows smoothly. In a network of few blocks each does more, so that all this happens sooner. Which paths carry the
gradient (section 5) is measured by letting it back through the f of k blocks, and past those of all others. He, Zhang,
Ren and Sun, "Deep residual learning for image recognition", 2016: the deeper a plain network is, the worse it learns,
although it could do what a shallow one does.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from math import comb

import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional as F

from striate.jobs.experiments.blocks import STAGES, WIDTH, Blocks, Chain, Ordered
from striate.jobs.experiments.fitting import SmallSet, accuracy, fit, read_small
from striate.jobs.experiments.networks import parameter_count
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE = 8
DEEP, SHALLOW = 16, 4  # Blocks.
BATCH, EPOCHS, RATE = 32, 6, 3e-3
MOST = 2000  # Images to learn from.
DRAWS = 5  # Of blocks that are taken out, and of paths.
PAIRS, ORDERS = (1, 2, 4, 8), 10  # Of blocks that change places, and draws of these.
SEEN = 64  # Images whose gradients are looked at.


def without(network: Blocks | Chain, given: SmallSet, gone: Collection[int]) -> float:
    """Return the accuracy of a network with some blocks taken out."""
    left = [place for place in range(len(network.blocks)) if place not in gone]
    return accuracy(Ordered(network, left), given.unseen, given.truth)


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
    """Train networks with and without shortcuts and one like VGG, and take them apart; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, of what is kept to test on, and of blocks and paths that are drawn.
    """
    given = read_small(data, SIDE, seed, MOST)
    builders = _builders(given.classes)
    rows: list[tuple[Cell, ...]] = []
    alone: dict[str, list[tuple[float, float]]] = {}
    fewer: dict[str, list[tuple[float, float]]] = {}
    moved: dict[str, list[tuple[float, float]]] = {}
    losses: dict[str, list[tuple[float, float]]] = {}
    paths: tuple[Chart, ...] = ()
    for place, (name, build) in enumerate(builders.items()):
        torch.manual_seed(seed)
        network = build()
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        losses[name] = yield from fit(network, given, optimizer, EPOCHS, BATCH, seed, (place, len(builders)))
        draws = torch.Generator().manual_seed(seed)
        loose = [block for group in network.alike for block in group]
        one = [without(network, given, {block}) for block in loose]
        alone[name] = [(float(block + 1), share) for block, share in zip(loose, one, strict=True)]
        numbers = range(0, len(loose), max(len(loose) // 8, 1))
        fewer[name] = [(float(gone), _mean_without(network, given, loose, gone, draws)) for gone in numbers]
        whole = fewer[name][0][1]
        possible = [pairs for pairs in PAIRS if pairs <= sum(len(group) // 2 for group in network.alike)]
        moved[name] = [(1.0, whole), *(_mean_exchanged(network, given, pairs, draws) for pairs in possible)]
        rows.append(
            (
                name,
                sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in network.modules()),
                parameter_count(network),
                *(f"{share:.1%}" for share in (accuracy(network, given.images, given.labels), whole)),
                *(f"{share:.1%}" for share in (sum(one) / len(one), min(one))),
                *(f"{share:.1%}" for _, share in moved[name][1:]),
                *[""] * (len(PAIRS) - len(possible)),
            )
        )
        if isinstance(network, Blocks) and not paths:
            paths = _paths(network, given, draws)
    yield Outcome(
        "Why do residual networks work?",
        f"Blocks of two 3x3 convolutions of {WIDTH} maps with batch norm, on {len(given.images):,} images of "
        f"{given.name}, and one like VGG, where a block is a layer and the first of each stage stays; {EPOCHS} epochs "
        f"with Adam, batches of {BATCH}, seed {seed}; judged by {len(given.unseen):,} others of {given.classes} "
        f"classes. Of pairs of blocks, drawn at random and no block twice, both change places, the rest stays; means "
        f"of {ORDERS} draws. Kendall's tau says how much the order is then like the one that was learned: 1 for the "
        "same, 0 for one of chance.",
        (
            "network",
            "layers",
            "parameters",
            "accuracy in training",
            "accuracy",
            "one block taken out, mean",
            "the worst of these",
            *(f"{pairs} {'pair' if pairs == 1 else 'pairs'} exchanged" for pairs in PAIRS),
        ),
        tuple(rows),
        (
            Chart("One block taken out", "which block", "accuracy", alone),
            Chart("Blocks taken out", "blocks gone, at random", "accuracy", fewer),
            Chart("Blocks exchanged", "likeness to the order learned, Kendall's tau", "accuracy", moved),
            *paths,
            Chart("Loss of each step", "step", "loss", losses, log=True),
        ),
    )


def _builders(classes: int) -> dict[str, Callable[[], Blocks | Chain]]:
    builders: dict[str, Callable[[], Blocks | Chain]] = {
        f"{count} {kind} blocks": partial(Blocks, count, classes, shortcuts=shortcuts)
        for kind, shortcuts in (("residual", True), ("plain", False))
        for count in (DEEP, SHALLOW)
    }
    return builders | {f"{sum(count for _, count in STAGES)} layers like VGG": partial(Chain, classes)}


def _mean_without(
    network: Blocks | Chain, given: SmallSet, loose: Sequence[int], gone: int, draws: torch.Generator
) -> float:
    """Return the mean accuracy without so many of the blocks that can be taken out, over some drawn sets of them."""
    drawn = [torch.randperm(len(loose), generator=draws)[:gone].tolist() for _ in range(DRAWS if gone else 1)]
    return sum(without(network, given, [loose[place] for place in each]) for each in drawn) / len(drawn)


def exchanged(network: Blocks | Chain, pairs: int, draws: torch.Generator) -> list[int]:
    """Return the order of blocks where so many pairs that are alike have changed places, no block twice."""
    order = list(range(len(network.blocks)))
    found: list[tuple[int, int]] = []
    for group in network.alike:
        drawn = [group[place] for place in torch.randperm(len(group), generator=draws).tolist()]
        found += zip(drawn[::2], drawn[1::2], strict=False)
    for chosen in torch.randperm(len(found), generator=draws)[:pairs].tolist():
        one, other = found[chosen]
        order[one], order[other] = other, one
    return order


def _mean_exchanged(
    network: Blocks | Chain, given: SmallSet, pairs: int, draws: torch.Generator
) -> tuple[float, float]:
    """Return how much orders are like the one that was learned, and the accuracy, the means over some drawn ones."""
    orders = [exchanged(network, pairs, draws) for _ in range(ORDERS)]
    like = [float(kendalltau(range(len(order)), order).statistic) for order in orders]
    shares = [accuracy(Ordered(network, order), given.unseen, given.truth) for order in orders]
    return sum(like) / ORDERS, sum(shares) / ORDERS


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
