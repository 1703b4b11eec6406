"""Why there are activations between layers, and what becomes of deep networks without them.

A dense layer is x W + b, and a dense layer of a dense layer is (x W + b) V + c = x (W V) + (b V + c): one dense layer
again, however many there are. Without activations a network draws straight lines between its classes and nothing else,
with far more weights than that takes. Where lines will do, as on digits almost, little is lost; rings around a common
middle cannot be told apart by any.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import pi, sqrt

import torch
from torch import Tensor, nn

from striate.data.source import finish
from striate.jobs.experiments.fitting import SmallSet, accuracy, fit, read_small
from striate.jobs.experiments.networks import parameter_count
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE, WIDTH, DEPTH = 8, 32, 5
BATCH, RATE = 32, 5e-3
EPOCHS, ROUNDS = 15, 30  # Of images, and of rings.
MOST = 2000  # Images to learn from.
RINGS, POINTS, SPREAD = 3, 600, 0.15  # Points to learn from, and as many to test on; how far they are from their ring.
# Each with what its weights' deviation is, over 1 / sqrt(values that come in): that of LeCun et al., "Efficient
# BackProp", 1998, section 4.6, and for ReLU that of He et al., "Delving deep into rectifiers", 2015.
ACTIVATIONS: dict[str, tuple[type[nn.Module], float]] = {
    "none": (nn.Identity, 1.0),
    "sigmoid": (nn.Sigmoid, 1.0),
    "tanh": (nn.Tanh, 1.0),
    "ReLU": (nn.ReLU, sqrt(2)),
}


def deep_network(activation: str, values: int, classes: int) -> nn.Sequential:
    """Build `DEPTH` dense layers with one of `ACTIVATIONS` behind each but the last."""
    kind, gain = ACTIVATIONS[activation]
    network = nn.Sequential(nn.Flatten())
    sizes = [values, *(DEPTH - 1) * [WIDTH], classes]
    for place, (before, after) in enumerate(pairwise(sizes), 1):
        layer = nn.Linear(before, after)
        nn.init.normal_(layer.weight, std=gain / sqrt(before))
        nn.init.zeros_(layer.bias)
        network.append(layer)
        if place < DEPTH:
            network.append(kind())
    return network


@torch.no_grad()
def multiplied_out(network: nn.Sequential) -> nn.Sequential:
    """Return the one dense layer that a network's dense layers are if nothing is between them."""
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    weight, bias = layers[0].weight, layers[0].bias
    for layer in layers[1:]:
        weight, bias = layer.weight @ weight, layer(bias)
    single = nn.Linear(weight.shape[1], weight.shape[0])
    single.weight.copy_(weight)
    single.bias.copy_(bias)
    return nn.Sequential(nn.Flatten(), single)


def draw_rings(seed: int) -> SmallSet:
    """Draw points on rings around a common middle, a class each; no line parts one from the others."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(2 * POINTS) % RINGS
    radius = 1 + labels + SPREAD * torch.randn(len(labels), generator=draws)
    angle = 2 * pi * torch.rand(len(labels), generator=draws)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)[:, None, None] / 2
    return SmallSet("rings", points[:POINTS], labels[:POINTS], points[POINTS:], labels[POINTS:], RINGS)


@torch.no_grad()
def _apart(network: nn.Module, other: nn.Module, images: Tensor) -> float:
    return float((network(images) - other(images)).abs().max())


def compare_activations(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train a deep network with each activation and with none, on images and on rings; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of rings, of the images' order, and of what is kept to test on.
    """
    given, rings = read_small(data, SIDE, seed, MOST), draw_rings(seed)
    tasks = ((given, EPOCHS), (rings, ROUNDS))
    rows: list[tuple[Cell, ...]] = []
    losses: tuple[dict[str, list[tuple[float, float]]], ...] = ({}, {})
    for place, activation in enumerate(ACTIVATIONS):
        networks, singles = list[nn.Sequential](), list[nn.Sequential]()
        for task, (learned, epochs) in enumerate(tasks):
            torch.manual_seed(seed)
            network = deep_network(activation, learned.images[0].numel(), learned.classes)
            optimizer = torch.optim.Adam(network.parameters(), RATE)
            losses[task][activation] = finish(fit(network, learned, optimizer, epochs, BATCH, seed))
            yield Trying(len(tasks) * place + task + 1, len(tasks) * len(ACTIVATIONS))
            networks.append(network)
            singles.append(multiplied_out(network))
        apart = _apart(networks[0], singles[0], given.unseen)
        rows.append((*_row(activation, networks, (given, rings)), f"{apart:.1g}"))
        if activation == "none":
            rows.append((*_row("none, as one layer", singles, (given, rings)), ""))
    yield Outcome(
        "Why are there activations between layers?",
        f"{DEPTH} dense layers, {WIDTH} numbers in each but the last, on {len(given.images):,} images of {given.name} "
        f"at {SIDE} x {SIDE} ({EPOCHS} epochs), and on {POINTS} points of {RINGS} rings around a common middle "
        f"({ROUNDS} epochs); Adam with a rate of {RATE:g}, batches of {BATCH}, seed {seed}; weights begin with a "
        f"variance of 1 / n (LeCun's), of 2 / n for ReLU (He's), where n numbers come in; judged by "
        f"{len(given.unseen):,} other images and {POINTS} other points "
        "(a guess is right for one of three). In the second row are the matrices of the first, multiplied to a single "
        "one; the last column is how far, at most, logits of images are from those of the network's own matrices "
        "multiplied so, with nothing between them.",
        (
            "activation",
            f"parameters on {given.name}",
            f"accuracy on {given.name}",
            "accuracy on rings",
            "logits, from those of one layer",
        ),
        tuple(rows),
        tuple(
            Chart(f"Loss of each step on {learned.name}", "step", "loss", curves, log=True)
            for (learned, _), curves in zip(tasks, losses, strict=True)
        ),
    )


def _row(name: str, networks: Sequence[nn.Module], sets: Sequence[SmallSet]) -> tuple[Cell, ...]:
    shares = [accuracy(network, each.unseen, each.truth) for network, each in zip(networks, sets, strict=True)]
    parameters = parameter_count(networks[0])
    return name, parameters, *(f"{share:.1%}" for share in shares)
