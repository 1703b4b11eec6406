"""Pooling against strides, and against neither: what each costs, sees and is worth, in the same small network.

The network is the one that introductory courses build: three 3x3 convolutions without padding, of 32, 64 and 64 maps,
and a dense layer behind them. Without pooling a unit of the last maps sees 7 x 7 pixels, and of 28 x 28 there are
22 · 22 · 64 = 30,976 values left to go into the dense layer, which has 30,976 · 512 + 512 = 15,860,224 parameters.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import nn

from striate.blocks.initialisation import initialise
from striate.costing.layers import layer_costs, total_parameters
from striate.jobs.experiments.fitting import accuracy, fit, peak_of_step, read_small
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE = 28
DENSE = 512
BATCH, EPOCHS, RATE = 32, 4, 1e-3
MOST = 2000  # Images to learn from.
WAYS = ("max pooling", "average pooling", "strided convolution", "none")


def small_network(way: str, classes: int) -> nn.Sequential:
    """Build the network with one of `WAYS` of making its maps smaller, after the first convolution and the second."""

    def shrink(channels: int) -> list[tuple[str, nn.Module]]:
        layers: dict[str, list[tuple[str, nn.Module]]] = {
            "max pooling": [("pool", nn.MaxPool2d(2))],
            "average pooling": [("pool", nn.AvgPool2d(2))],
            "strided convolution": [("stride", nn.Conv2d(channels, channels, 2, 2)), ("act2", nn.ReLU())],
            "none": [],
        }
        return layers[way]

    stages = OrderedDict[str, nn.Module]()
    for place, (before, after) in enumerate([(1, 32), (32, 64), (64, 64)], 1):
        layers = [("conv", nn.Conv2d(before, after, 3)), ("act", nn.ReLU()), *(shrink(after) if place < 3 else [])]
        stages[f"stage{place}"] = nn.Sequential(OrderedDict(layers))
    features = nn.Sequential(stages)
    values = features(torch.zeros(1, 1, SIDE, SIDE)).numel()
    network = nn.Sequential(
        OrderedDict(
            features=features,
            flatten=nn.Flatten(),
            dense=nn.Linear(values, DENSE),
            act=nn.ReLU(),
            output=nn.Linear(DENSE, classes),
        )
    )
    initialise(network, "he")
    return network


def compare_pooling(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train the network in each of its ways on the same images; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, and of what is kept to test on.
    """
    given = read_small(data, SIDE, seed, MOST)
    rows: list[tuple[Cell, ...]] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    for place, way in enumerate(WAYS):
        torch.manual_seed(seed)
        network = small_network(way, given.classes)
        layers = layer_costs(network, (1, SIDE, SIDE))
        maps = [layer for layer in layers if layer.name.startswith("features")]
        peak = peak_of_step(network, SIDE, BATCH)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        curves[way] = yield from fit(network, given, optimizer, EPOCHS, BATCH, seed, (place, len(WAYS)))
        sees = maps[-1].receptive_field
        values = torch.Size(maps[-1].output_shape).numel()
        share = accuracy(network, given.unseen, given.truth)
        rows.append(
            (
                way,
                f"{share:.2%}",
                total_parameters(layers),
                sum(layer.macs for layer in layers),
                f"{sees[0]} x {sees[1]}",
                values,
                peak,
            )
        )
    yield Outcome(
        "Pooling, strides, or neither?",
        f"Three 3x3 convolutions of 32, 64 and 64 maps and a dense layer of {DENSE}, on {len(given.images):,} images "
        f"of {given.name} at {SIDE} x {SIDE}; {EPOCHS} epochs with Adam, batches of {BATCH}, seed {seed}; judged by "
        f"{len(given.unseen):,} others.",
        (
            "maps made smaller by",
            "accuracy",
            "parameters",
            "multiply-adds",
            "a unit sees",
            "values into the dense layer",
            "peak of a step, bytes",
        ),
        tuple(rows),
        (Chart("Loss of each step", "step", "loss", curves, log=True),),
    )
