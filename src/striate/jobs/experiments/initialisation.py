"""What initialisation does to signals on their way through many layers, and what batch norm does about it.

Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, figures 6 and 7:
with weights that are too small activations die out on the way up and gradients on the way down; with variances that
keep their size, a compromise of 1 / (values that come in) for the one and 1 / (values that go out) for the other,
neither does. This takes activations for the identity around 0, as tanh is. He, Zhang, Ren and Sun, "Delving deep into
rectifiers", 2015: half of what comes in is cut off by ReLU, which a variance twice as large makes up for. Sigmoid has a
slope of a quarter at most, and makes all values positive: they keep their size by being about a half, whatever the
image was, and what tells images apart is at most a quarter as much behind each layer, and so is each gradient.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.initialisation import init_normal, initialise
from striate.jobs.experiments.fitting import SmallSet, read_small
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE, DEPTH, WIDTH, BATCH = 8, 20, 64, 256
NAIVE = 0.01  # Standard deviation of weights that are merely small.
WAYS = ("naive", "Xavier", "He")
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "ReLU": nn.ReLU}
LARGEST, BINS = 4.0, 160  # Of a histogram's values; larger ones are counted with these.


def deep_network(way: str, activation: str, classes: int, *, norm: bool) -> nn.Sequential:
    """Build `DEPTH` dense layers of `WIDTH` numbers and one for the classes; each but the last has an activation."""
    network = nn.Sequential(nn.Flatten())
    for place in range(DEPTH):
        before = SIDE * SIDE if place == 0 else WIDTH
        network.append(nn.Linear(before, WIDTH))
        if norm:
            network.append(nn.BatchNorm1d(WIDTH))
        network.append(ACTIVATIONS[activation]())
    network.append(nn.Linear(WIDTH, classes))
    if way == "naive":
        for layer in network:
            if isinstance(layer, nn.Linear):
                init_normal(layer, NAIVE)
    else:
        initialise(network, "xavier" if way == "Xavier" else "he")
    return network


def signals(network: nn.Sequential, given: SmallSet) -> tuple[list[Tensor], list[float]]:
    """Return the activations of each layer but the last, and the size of the gradient by each.

    The size is the root of the mean square, over images and numbers. The network is turned into one of 64-bit floats,
    since there is less than rounding of 32 bits between what images make of it in the end.
    """
    seen: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    kinds = tuple(ACTIVATIONS.values())
    handles = [layer.register_forward_hook(keep) for layer in network if isinstance(layer, kinds)]
    loss = F.cross_entropy(network.double()(given.images[:BATCH].double()), given.labels[:BATCH], reduction="sum")
    torch.autograd.backward(loss)
    for handle in handles:
        handle.remove()
    gradients = [each.grad for each in seen]
    return [each.detach() for each in seen], [_size(each) for each in gradients if each is not None]


def compare_initialisation(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Look at activations and gradients before any step; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights.
    """
    given = read_small(data, SIDE, seed, BATCH)
    ways = [(act, way, norm) for act in ACTIVATIONS for way in WAYS for norm in (False, True)]
    rows: list[tuple[Cell, ...]] = []
    sizes: dict[str, dict[str, list[tuple[float, float]]]] = {"activations": {}, "spread": {}, "gradients": {}}
    histograms: dict[str, dict[str, list[tuple[float, float]]]] = {"without": {}, "with": {}}
    for done, (activation, way, norm) in enumerate(ways, 1):
        torch.manual_seed(seed)
        found, gradients = signals(deep_network(way, activation, given.classes, norm=norm).train(), given)
        name = f"{activation}, {way}{', batch norm' if norm else ''}"
        forward = [_size(each) for each in found]
        spread = [_size(each - each.mean(0)) for each in found]
        sizes["activations"][name] = _numbered(forward)
        sizes["spread"][name] = _numbered(spread)
        sizes["gradients"][name] = _numbered(gradients)
        histograms["with" if norm else "without"][name] = _histogram(found[-1])
        same = float((found[-1].std(0) == 0).float().mean())
        ends = [forward[0], forward[-1], spread[0], spread[-1], gradients[-1], gradients[0]]
        rows.append((name, *(f"{each:.2g}" for each in ends), f"{same:.0%}"))
        yield Trying(done, len(ways))
    yield Outcome(
        "What does initialisation do to signals on their way?",
        f"{DEPTH} dense layers of {WIDTH} numbers on {min(BATCH, len(given.images))} images of {given.name}, before "
        f"any step; seed {seed}. Weights of a deviation of {NAIVE:g}, or of a variance of 2 / (n + m), as Glorot and "
        "Bengio's (Xavier), or 2 / n, as He's, where n numbers come in and m go out. Sizes are roots of mean squares; "
        "spread is the size of what is left of activations without their mean over the images (beside a half, 1e-16 is "
        "rounding).",
        (
            "weights",
            "activations, first layer",
            "last",
            "their spread over images, first layer",
            "last",
            "gradients, last layer",
            "first",
            "numbers that are the same for all images, last layer",
        ),
        tuple(rows),
        (
            Chart("Activations through the layers", "layer", "size", sizes["activations"], log=True),
            Chart("Spread of activations over images", "layer", "size", sizes["spread"], log=True),
            Chart("Gradients through the layers", "layer", "size", sizes["gradients"], log=True),
            *(
                Chart(f"Values of the last layer, {norm} batch norm", "value", "share", curves, log=True)
                for norm, curves in histograms.items()
            ),
        ),
    )


def _numbered(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(layer), value) for layer, value in enumerate(values, 1)]


def _size(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _histogram(values: Tensor) -> list[tuple[float, float]]:
    counts, edges = torch.histogram(values.flatten().clamp(-LARGEST, LARGEST), BINS, range=(-LARGEST, LARGEST))
    shares = counts / counts.sum()
    middles = (edges[1:] + edges[:-1]) / 2
    return [(float(x), float(share)) for x, share in zip(middles, shares, strict=True) if share > 0]
