"""Why different kernels learn different things: because they start different.

Two filters that start alike stay alike for ever if all that reads them does so alike: then they get the same gradient
in every step (Goodfellow, Bengio and Courville, "Deep learning", 2016, section 8.4, call for breaking this symmetry).
It takes both. Where filters are copies of one, but the next layer's weights on them were drawn at random, each of them
is pulled somewhere else from the first step on, and they come apart. Where these weights are copies as well, through
all layers (the last reads all maps alike, though each class with weights of its own), nothing ever tells them apart:
a layer of any width works as a single filter does, whatever it is trained on and for however long.

The activation is tanh, since a ReLU that a common start happens to shut is shut in all filters at once, which would be
another reason not to learn.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from striate.blocks.initialisation import initialise
from striate.jobs.experiments.fitting import accuracy, fit, read_small
from striate.jobs.experiments.networks import dense_on_means, parameter_count
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE = 8
WIDTHS = (16, 32)  # Filters of both layers.
BATCH, EPOCHS, RATE, MOMENTUM = 32, 15, 0.1, 0.9
MOST = 1000  # Images to learn from.
APART = 1e-3  # Filters count as different that are farther apart, as a share of their mean length.
WAYS = ("at random", "filters alike", "filters alike, and read alike", "a single filter in each layer")


def small_network(way: str, classes: int) -> nn.Sequential:
    """Build two convolutions and a dense layer on the means of their maps, which begin in one of `WAYS`."""
    first, second = (1, 1) if way == WAYS[3] else WIDTHS
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, first, 3, padding=1),
            act1=nn.Tanh(),
            conv2=nn.Conv2d(first, second, 3, padding=1),
            act2=nn.Tanh(),
        )
        | dense_on_means(second, classes)
    )
    initialise(network, "xavier")
    if way in WAYS[1:3]:
        for name in ("conv1", "conv2"):
            _copy_first(network.get_submodule(name), 0)
    if way == WAYS[2]:
        for name in ("conv2", "output"):
            _copy_first(network.get_submodule(name), 1)
    return network


@torch.no_grad()
def _copy_first(layer: nn.Module, dim: int) -> None:
    """Give all filters the weights of the first (dim 0), or all maps that come in those of the first (dim 1)."""
    weight = layer.get_parameter("weight")
    weight.copy_(weight.narrow(dim, 0, 1).expand_as(weight).clone())


@torch.no_grad()
def distances(network: nn.Module, name: str) -> Float32[Tensor, "F F"]:
    """Return how far each filter of a layer is from each other one, as a share of the mean length of all.

    A filter is its weights and its bias.
    """
    layer = network.get_submodule(name)
    filters = torch.cat([layer.get_parameter("weight").flatten(1), layer.get_parameter("bias")[:, None]], 1)
    apart: Tensor = (filters[:, None] - filters[None]).norm(dim=2) / filters.norm(dim=1).mean()
    return apart


def distinct(apart: Float32[Tensor, "F F"]) -> int:
    """Count filters, leaving out each that is not farther than `APART` from one that is counted already."""
    counted: list[int] = []
    for place, row in enumerate(apart.tolist()):
        if all(row[other] > APART for other in counted):
            counted.append(place)
    return len(counted)


def mean_distance(apart: Float32[Tensor, "F F"]) -> float:
    """Return the mean over all pairs of filters."""
    count = len(apart)
    return float(apart.sum()) / (count * (count - 1))


def compare_symmetry(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train the network from each of its beginnings, and see how far its filters come apart; last is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, and of what is kept to test on.
    """
    given = read_small(data, SIDE, seed, MOST)
    rows: list[tuple[Cell, ...]] = []
    losses: dict[str, list[tuple[float, float]]] = {}
    apart: dict[str, list[tuple[float, float]]] = {}
    for place, way in enumerate(WAYS):
        torch.manual_seed(seed)
        network = small_network(way, given.classes)
        is_single = way == WAYS[3]
        start = [distinct(distances(network, name)) for name in ("conv1", "conv2")]
        if not is_single:
            apart[way] = [(0.0, mean_distance(distances(network, "conv1")))]
        optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM)
        losses[way] = []
        for epoch in range(EPOCHS):
            part = place * EPOCHS + epoch, len(WAYS) * EPOCHS
            steps = yield from fit(network, given, optimizer, 1, BATCH, seed + epoch, part)
            losses[way].append((epoch + 1.0, sum(loss for _, loss in steps) / len(steps)))
            if not is_single:
                apart[way].append((epoch + 1.0, mean_distance(distances(network, "conv1"))))
        ends = [distances(network, name) for name in ("conv1", "conv2")]
        rows.append(
            (
                way,
                parameter_count(network),
                f"{accuracy(network, given.images, given.labels):.1%}",
                f"{accuracy(network, given.unseen, given.truth):.1%}",
                *(f"{before} to {distinct(end)}" for before, end in zip(start, ends, strict=True)),
                *("" if is_single else f"{mean_distance(end):.2g}" for end in ends),
            )
        )
    yield Outcome(
        "Why do different kernels learn different things?",
        f"Two 3x3 convolutions of {WIDTHS[0]} and {WIDTHS[1]} filters with tanh, and a dense layer on the mean of each "
        f"map, on {len(given.images):,} images of {given.name} at {SIDE} x {SIDE}; {EPOCHS} epochs with SGD (rate "
        f"{RATE}, momentum {MOMENTUM}), batches of {BATCH}, seed {seed}; judged by {len(given.unseen):,} others. "
        "Filters alike: in each convolution all filters begin as copies of one; weights on different maps differ. Read "
        "alike: each filter of the second convolution, and each class, also begins with the same weights for all maps "
        "that it reads; the classes differ. Filters are counted before and after training, as distinct where they are "
        "farther apart than a thousandth of their mean length; distances, after it, are shares of that length.",
        (
            "beginning",
            "parameters",
            "accuracy in training",
            "accuracy",
            "distinct filters, layer 1",
            "distinct filters, layer 2",
            "mean distance, layer 1",
            "mean distance, layer 2",
        ),
        tuple(rows),
        (
            Chart("Loss of each epoch", "epoch", "loss, mean of its steps", losses, log=True),
            Chart("How far apart the first layer's filters are", "epoch", "mean distance", apart),
        ),
    )
