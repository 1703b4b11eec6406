"""What 1x1 convolutions save in GoogLeNet: its modules with their reductions, and without them.

Szegedy et al., "Going deeper with convolutions", 2015, section 4: put side by side, windows of 3x3 and 5x5 that see all
maps make more and more of them, and each module costs more than the one before. So 1x1 convolutions make the maps fewer
first, each a mixture of all (figure 2). What a chain of convolutions has lost on its way no later layer gets back; of
branches, each keeps what it finds. Whether that shows on small images is seen with two small modules beside a chain of
as many weights.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import nn

from striate.blocks.convolution import convolution
from striate.blocks.inception import Inception, Widths
from striate.blocks.initialisation import initialise
from striate.costing.layers import layer_costs, total_parameters
from striate.jobs.experiments.fitting import accuracy, fit, read_small
from striate.jobs.experiments.networks import dense_on_means
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying
from striate.models.googlenet import TABLE

CHANNELS = 192  # That come into the first module.
SIDES = {"3": 28, "4": 14, "5": 7}  # Of the maps of each stage's modules, for images of 224 x 224.
SIDE, STEM, SMALL, CHAIN = 8, 16, Widths(16, 12, 24, 4, 8, 8), 26
BATCH, EPOCHS, RATE = 32, 10, 3e-3
MOST = 2000  # Images to learn from.
Counts = dict[str, tuple[int, int]]  # Parameters and multiply-adds, by name.
WAYS = ("with reductions", "without", "a chain of 3x3")


def count_modules(*, reductions: bool) -> Counts:
    """Return the parameters of each of GoogLeNet's modules, and its multiply-adds for one image."""
    found, channels = Counts(), CHANNELS
    for name, widths in TABLE.items():
        with torch.device("meta"):
            module = Inception(channels, widths, reductions=reductions)
        side = SIDES[name.removeprefix("inception")[0]]
        layers = layer_costs(module, (channels, side, side))
        found[name] = total_parameters(layers), sum(layer.macs for layer in layers)
        channels = widths.total
    return found


def small_network(way: str, classes: int) -> nn.Sequential:
    """Build two small modules, or two 3x3 convolutions of `CHAIN` maps that have as many weights, behind another."""
    layers = OrderedDict[str, nn.Module](stem=convolution(1, STEM, 3, norm=None))
    channels = STEM
    for place in range(2):
        if way == "a chain of 3x3":
            layers[f"conv{place}"] = convolution(channels, CHAIN, 3, norm=None)
            channels = CHAIN
        else:
            layers[f"inception{place}"] = Inception(channels, SMALL, reductions=way == "with reductions")
            channels = SMALL.total
    network = nn.Sequential(layers | dense_on_means(channels, classes))
    initialise(network, "he")
    return network


def compare_inception(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Count GoogLeNet's modules either way, and train small ones and a chain; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, and of what is kept to test on.
    """
    given = read_small(data, SIDE, seed, MOST)
    reduced, whole = (count_modules(reductions=reductions) for reductions in (True, False))
    reduced["all nine"], whole["all nine"] = ((_sum(each, 0), _sum(each, 1)) for each in (reduced, whole))
    rows: list[tuple[Cell, ...]] = [
        (name, parameters, whole[name][0], macs, whole[name][1], "", "") for name, (parameters, macs) in reduced.items()
    ]
    small: dict[str, tuple[Cell, Cell, Cell]] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    for place, way in enumerate(WAYS):
        torch.manual_seed(seed)
        network = small_network(way, given.classes)
        layers = layer_costs(network, (1, SIDE, SIDE))
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        curves[way] = yield from fit(network, given, optimizer, EPOCHS, BATCH, seed, (place, len(WAYS)))
        share = f"{accuracy(network, given.unseen, given.truth):.1%}"
        small[way] = total_parameters(layers), sum(layer.macs for layer in layers), share
    few, many, chain = (small[way] for way in WAYS)
    rows.append(("two small ones", *(cell for pair in zip(few, many, strict=True) for cell in pair)))
    rows.append(("a chain of 3x3 instead", *(cell for value in chain for cell in (value, ""))))
    yield Outcome(
        "What do 1x1 convolutions save in an inception module?",
        "Above, GoogLeNet's nine modules: parameters, and multiply-adds for one image of 224 x 224, with a 1x1 "
        "convolution before each 3x3 and 5x5 one, as in the paper, and without, where these see all maps. Below, two "
        f"small modules behind a 3x3 convolution of {STEM} maps, either way, and two 3x3 convolutions of {CHAIN} maps "
        f"in their place, each as a whole network, trained on {len(given.images):,} images of {given.name} at "
        f"{SIDE} x {SIDE}; {EPOCHS} epochs with Adam, batches of {BATCH}, seed {seed}; accuracy is that on "
        f"{len(given.unseen):,} others, a few more or less of which are chance.",
        (
            "modules",
            "parameters",
            "parameters without",
            "multiply-adds",
            "multiply-adds without",
            "accuracy",
            "accuracy without",
        ),
        tuple(rows),
        (
            Chart("Parameters of GoogLeNet's modules", "module", "millions", _numbered(reduced, whole, 0)),
            Chart("Multiply-adds of GoogLeNet's modules", "module", "millions", _numbered(reduced, whole, 1)),
            Chart("Loss of each step of the small networks", "step", "loss", curves, log=True),
        ),
    )


def _sum(counts: Counts, what: int) -> int:
    return sum(each[what] for each in counts.values())


def _numbered(reduced: Counts, whole: Counts, what: int) -> dict[str, list[tuple[float, float]]]:
    return {
        way: [(float(place), counts[name][what] / 1e6) for place, name in enumerate(TABLE, 1)]
        for way, counts in zip(WAYS, (reduced, whole), strict=False)
    }
