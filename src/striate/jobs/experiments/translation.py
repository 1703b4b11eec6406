"""What becomes of an answer as the thing moves, pixel by pixel: for a dense network, and for convolutional ones.

All learn from the same images, whose things are in the middle. A dense network has a weight of its own for each pixel,
and knows nothing of the same thing elsewhere. A convolution finds a pattern wherever it is; but where its maps are
flattened into a dense layer, that layer has learned them in one place again, and only a mean over the maps forgets
where each was (Lin, Chen and Yan, "Network in network", 2014, section 3.2).
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.initialisation import initialise
from striate.jobs.experiments.fitting import SmallSet, accuracy, fit, read_small
from striate.jobs.experiments.networks import convolutions, dense_on_means, parameter_count, perceptron
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

THING, FRAME = 16, 6  # Pixels of a thing, and around it on each side.
BATCH, EPOCHS, RATE = 32, 8, 2e-3
MOST = 2000  # Images to learn from.
NETWORKS = ("dense", "convolutions, flattened", "convolutions, their mean")


def small_network(kind: str, classes: int) -> nn.Sequential:
    """Build one of `NETWORKS` for grey images with a frame around the thing."""
    side = THING + 2 * FRAME
    if kind == "dense":
        return perceptron(side, 128, classes)
    layers = convolutions((16, 32, 64))
    if kind == NETWORKS[2]:
        layers |= dense_on_means(64, classes)
    else:
        layers |= OrderedDict(flatten=nn.Flatten(), output=nn.Linear(64 * (side // 4) ** 2, classes))
    network = nn.Sequential(layers)
    initialise(network, "he")
    return network


def framed(images: Tensor, across: int) -> Tensor:
    """Return images with a frame as dark as their darkest pixel, in which the thing lies so many pixels to the right.

    Args:
        images: N x 1 x H x W.
        across: from minus to plus the frame's width; negative to the left.
    """
    return F.pad(images, (FRAME + across, FRAME - across, FRAME, FRAME), value=float(images.min()))


def compare_translation(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train each network on things in the middle, and move others left and right; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, and of what is kept to test on.
    """
    read = read_small(data, THING, seed, MOST)
    given = SmallSet(read.name, framed(read.images, 0), read.labels, framed(read.unseen, 0), read.truth, read.classes)
    rows: list[tuple[Cell, ...]] = []
    sure: dict[str, list[tuple[float, float]]] = {}
    same: dict[str, list[tuple[float, float]]] = {}
    for place, kind in enumerate(NETWORKS):
        torch.manual_seed(seed)
        network = small_network(kind, given.classes)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        yield from fit(network, given, optimizer, EPOCHS, BATCH, seed, (place, len(NETWORKS)))
        network.eval()
        with torch.no_grad():
            shares = {by: network(framed(read.unseen, by)).softmax(1) for by in range(-FRAME, FRAME + 1)}
        own = {by: share.gather(1, given.truth[:, None]).mean() for by, share in shares.items()}
        kept = {by: (share.argmax(1) == shares[0].argmax(1)).double().mean() for by, share in shares.items()}
        sure[kind] = [(float(by), float(value)) for by, value in own.items()]
        same[kind] = [(float(by), float(value)) for by, value in kept.items()]
        moved = [value for by, value in same[kind] if by != 0]
        rows.append(
            (
                kind,
                parameter_count(network),
                f"{accuracy(network, given.unseen, given.truth):.1%}",
                *(f"{dict(same[kind])[float(by)]:.1%}" for by in (1, 3, 6)),
                f"{sum(moved) / len(moved):.1%}",
            )
        )
    yield Outcome(
        "What becomes of an answer as the thing moves?",
        f"Three networks on {len(given.images):,} images of {given.name} at {THING} x {THING} in the middle of a frame "
        f"of {FRAME} pixels; {EPOCHS} epochs with Adam, batches of {BATCH}, seed {seed}; judged by "
        f"{len(given.unseen):,} others, which are moved. Consistency is the share of answers that stay what they were "
        "in the middle.",
        (
            "network",
            "parameters",
            "accuracy in the middle",
            "consistency, 1 pixel to the right",
            "consistency, 3 pixels",
            "consistency, 6 pixels",
            "consistency, mean of all shifts",
        ),
        tuple(rows),
        (
            Chart("How probable the true class is", "pixels to the right", "probability, mean", sure),
            Chart("Answers that stay the same", "pixels to the right", "share", same),
        ),
    )
