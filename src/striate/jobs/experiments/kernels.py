"""Large kernels against several small ones that see as far.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015, section 2.3: two
3x3 convolutions see 5x5 pixels, three see 7x7; of C maps they have 2 · 9 C² = 18 C² weights against 25 C², and 27 C²
against 49 C², and an activation behind each in place of a single one. Whether they are worth more as well can be
asked of networks that have learned all that they will: so these have batch norm, and a tenth of the rate in the end;
how much hangs on which weights they began with is told by a range.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from statistics import mean

import torch
from torch import nn

from striate.blocks.initialisation import initialise
from striate.costing.layers import layer_costs, total_parameters
from striate.jobs.experiments.fitting import accuracy, fit, peak_of_step, read_small
from striate.jobs.experiments.networks import dense_on_means
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying
from striate.shapes import same_padding

SIDE, WIDTH = 8, 32
BATCH = 32
PHASES = ((9, 1e-2), (3, 1e-3))  # Epochs, and their rate.
DRAWS = 3  # Of weights to begin with.
MOST = 2000  # Images to learn from.
WAYS = {"one 3x3": (3,), "one 5x5": (5,), "two 3x3": (3, 3), "one 7x7": (7,), "three 3x3": (3, 3, 3)}


def small_network(kernels: Sequence[int], classes: int) -> nn.Sequential:
    """Build convolutions of `WIDTH` maps, each as large as the image, behind a 1x1 one and before the maps' means.

    The first makes `WIDTH` maps of one and sees a pixel each, the means see all: how far what is between them sees is
    how large the patterns are that the network knows.
    """
    layers = OrderedDict[str, nn.Module](stem=nn.Conv2d(1, WIDTH, 1), act=nn.ReLU())
    for place, kernel in enumerate(kernels, 1):
        layers[f"conv{place}"] = nn.Conv2d(WIDTH, WIDTH, kernel, padding=same_padding(kernel), bias=False)
        layers[f"norm{place}"] = nn.BatchNorm2d(WIDTH)
        layers[f"act{place}"] = nn.ReLU()
    network = nn.Sequential(layers | dense_on_means(WIDTH, classes))
    initialise(network, "he")
    return network


def compare_kernels(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train the network with large kernels and with small ones on the same images; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, and of what is kept to test on.
    """
    given = read_small(data, SIDE, seed, MOST)
    rows: list[tuple[Cell, ...]] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    count = len(WAYS) * DRAWS * len(PHASES)
    for place, (way, kernels) in enumerate(WAYS.items()):
        known, unseen = list[float](), list[float]()
        for draw in range(DRAWS):
            torch.manual_seed(seed + draw)
            network = small_network(kernels, given.classes)
            optimizer = torch.optim.Adam(network.parameters())
            curves[way] = []
            for phase, (epochs, rate) in enumerate(PHASES):
                optimizer.param_groups[0]["lr"] = rate
                part = (place * DRAWS + draw) * len(PHASES) + phase, count
                losses = yield from fit(network, given, optimizer, epochs, BATCH, seed + phase, part)
                curves[way] += [(len(curves[way]) + step, loss) for step, loss in losses]
            known.append(accuracy(network, given.images, given.labels))
            unseen.append(accuracy(network, given.unseen, given.truth))
        convolutions = [each for each in layer_costs(network, (1, SIDE, SIDE)) if each.name.startswith("conv")]
        peak = peak_of_step(network, SIDE, BATCH)
        sees = convolutions[-1].receptive_field
        rows.append(
            (
                way,
                f"{sees[0]} x {sees[1]}",
                total_parameters(convolutions),
                sum(layer.macs for layer in convolutions),
                len(kernels),
                peak,
                f"{mean(known):.1%}",
                f"{mean(unseen):.1%}",
                f"{min(unseen):.1%} to {max(unseen):.1%}",
            )
        )
    yield Outcome(
        "One large kernel, or several small ones that see as far?",
        f"Convolutions of {WIDTH} maps, each with batch norm and ReLU, between a 1x1 convolution and the means of the "
        f"maps, on {len(given.images):,} images of {given.name} at {SIDE} x {SIDE}; Adam for "
        f"{' and '.join(f'{epochs} epochs at a rate of {rate:g}' for epochs, rate in PHASES)}, batches of {BATCH}, "
        f"seed {seed}; judged by {len(given.unseen):,} others. Accuracies are means over {DRAWS} draws of the weights "
        "to begin with, the range is that from draw to draw, and the chart shows the last. Parameters and "
        "multiply-adds are those of the kernels named, the latter for one image.",
        (
            "kernels",
            "a unit sees",
            "parameters",
            "multiply-adds",
            "non-linearities",
            "peak of a step, bytes",
            "accuracy in training",
            "accuracy",
            "its range",
        ),
        tuple(rows),
        (Chart("Loss of each step", "step", "loss", curves, log=True),),
    )
