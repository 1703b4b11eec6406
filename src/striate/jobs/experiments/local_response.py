"""Local response normalization on and off: what it costs, what it does to maps, and what it is worth.

The strongest unit holds back the units at its place in the neighbouring maps, which is meant to spread features apart
(Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012, section
3.3): b_i = a_i / (k + alpha · Σ a_j²)^beta, the sum over the n maps around i. Whether it does so is a matter of alpha:
as long as alpha · Σ a_j² is small beside k, all values are divided by the same k^beta, and nothing holds back anything.
So the network is trained with the constants of its tutorials, with those of the paper, and with an alpha at which
neighbours count.

How far features are apart is how little neighbouring maps say the same: the correlation of the values of two maps over
all places of unseen images, its absolute value, mean of all pairs that are at most four maps apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from striate.blocks.normalisation import local_response_norm
from striate.costing.layers import layer_costs, total_parameters
from striate.jobs.experiments.fitting import accuracy, fit, peak_of_step, read_small
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying
from striate.zoo import create_model

NETWORK, LAYERS = "alexnet_28", ("norm1", "norm2", "norm3")
SIDE = 16
NEAR = 4  # Maps to each side that count as neighbours.
BATCH, EPOCHS, RATE = 32, 3, 3e-4
MOST = 1000  # Images to learn from.
LOOKED = 256  # Unseen images whose maps are looked at.


@dataclass(frozen=True, slots=True)
class Constants:
    """Of b_i = a_i / (k + alpha · Σ a_j²)^beta.

    Args:
        maps: n, that the sum goes over.
        k: what is there without any neighbour.
        alpha: of each map.
        beta: the power.
    """

    maps: int
    k: float
    alpha: float
    beta: float = 0.75


WAYS = {
    "none": None,
    "as the tutorials": Constants(9, 1.0, 0.001 / 9),
    "as the paper": Constants(5, 2.0, 1e-4),
    "with a large alpha": Constants(9, 1.0, 1.0),
}


def network_with(constants: Constants | None, classes: int) -> nn.Module:
    """Build the network with normalization by some constants in each of its three places, or with none."""
    network = create_model(NETWORK, num_classes=classes, image_size=(SIDE, SIDE))
    for layer in LAYERS:
        norm: nn.Module = nn.Identity()
        if constants is not None:
            norm = local_response_norm(constants.maps, k=constants.k, alpha=constants.alpha, beta=constants.beta)
        network.set_submodule(f"features.{layer}", norm)
    return network


def likeness(maps: Tensor) -> float:
    """Return how much neighbouring maps say the same: the mean absolute correlation, from 0 to 1.

    Args:
        maps: N x C x H x W; those that are the same everywhere, such as dead ones, count for nothing.
    """
    values = maps.double().transpose(0, 1).flatten(1)
    values = values - values.mean(1, keepdim=True)
    sizes = values.norm(dim=1)
    found = []
    for apart in range(1, NEAR + 1):
        both = sizes[apart:] * sizes[:-apart]
        products = (values[apart:] * values[:-apart]).sum(1)
        found.append((products / both)[both > 0])
    return float(torch.cat(found).abs().mean())


@torch.no_grad()
def around(network: nn.Module, layer: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maps that go into a layer's normalization, and those that come out of it."""
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(_layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append((inputs[0], output))

    handle = network.get_submodule(f"features.{layer}").register_forward_hook(keep)
    network.eval()(images)
    handle.remove()
    return seen[0]


def compare_lrn(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train the network with and without normalization, and look at its maps; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, and of what is kept to test on.
    """
    given = read_small(data, SIDE, seed, MOST)
    rows: list[tuple[Cell, ...]] = []
    shares: list[float] = []
    losses: dict[str, list[tuple[float, float]]] = {}
    for place, (way, constants) in enumerate(WAYS.items()):
        torch.manual_seed(seed)
        network = network_with(constants, given.classes)
        layers = layer_costs(network, (1, SIDE, SIDE))
        peak = peak_of_step(network, SIDE, BATCH)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        losses[way] = yield from fit(network, given, optimizer, EPOCHS, BATCH, seed, (place, len(WAYS)))
        low, high = (around(network, layer, given.unseen[:LOOKED]) for layer in LAYERS[:2])
        shares.append(accuracy(network, given.unseen, given.truth))
        rows.append(
            (
                way,
                f"{shares[-1]:.1%}",
                total_parameters(layers),
                sum(layer.macs for layer in layers),
                peak,
                *(f"{float(after.sum() / before.sum()):.1%}" for before, after in (low, high)),
                *(f"{likeness(before):.3f} to {likeness(after):.3f}" for before, after in (low, high)),
            )
        )
    mean = sum(shares) / len(shares)
    error = sqrt(mean * (1 - mean) / len(given.unseen))
    yield Outcome(
        "What does local response normalization do?",
        f"{NETWORK} on {len(given.images):,} images of {given.name} at {SIDE} x {SIDE}; {EPOCHS} epochs with Adam, "
        f"batches of {BATCH}, seed {seed}; judged by {len(given.unseen):,} others. Which images these are puts each "
        f"accuracy off by {error:.1%} (one standard error); which weights it began with matters besides. A "
        "value a becomes a / (k + alpha · S)^beta, where S is the sum of a² over the n maps around it, at its place: "
        f"{'; '.join(_told())}. Here alpha is that of each map, as in the paper; "
        "torch is given n times as much, and divides it by n. The n maps are n // 2 to each side: the lecture's radius "
        "r is n - 1 (r / 2 to each side), TensorFlow's half as much (r to each side). Left of the values: their sum "
        "behind the normalization, as a share of that before it. Correlation is that of the "
        f"values of two maps at most {NEAR} apart, over all places of {len(given.unseen[:LOOKED])} unseen images, its "
        "absolute value, mean of all pairs, before the normalization and behind it: the lower, the more different "
        "things the maps say.",
        (
            "normalization",
            "accuracy",
            "parameters",
            "multiply-adds",
            "peak of a step, bytes",
            "left of the values, layer 1",
            "left of the values, layer 2",
            "correlation of neighbouring maps, layer 1",
            "correlation of neighbouring maps, layer 2",
        ),
        tuple(rows),
        (Chart("Loss of each step", "step", "loss", losses, log=True),),
    )


def _told() -> Iterator[str]:
    for way, norm in WAYS.items():
        if norm is not None:
            yield f"{way}, n = {norm.maps}, k = {norm.k:g}, alpha = {norm.alpha:.2g}, beta = {norm.beta:g}"
