"""Overfitting, and what helps against it: a network of 270,000 parameters that learns from 100 images.

It learns them by heart, whatever is done, so that its loss on them says nothing of what it is worth on others. Weight
decay pulls all weights towards zero (Krogh and Hertz, "A simple weight decay can improve generalization", 1991),
dropout takes half of the values away, other ones in each step (Srivastava et al., "Dropout: a simple way to prevent
neural networks from overfitting", 2014), shifted images are more images of a kind that one can make oneself. None is
worth as much as images that are there.

What a hundred images teach depends on which they are. So all ways learn from the same draws of them, and what is told
is their mean, and how far it goes from one draw to the other.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import mean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.initialisation import initialise
from striate.jobs.experiments.fitting import SmallSet, accuracy, fit, mean_loss, read_small
from striate.jobs.experiments.networks import parameter_count
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE = 8
FEW, MORE = 100, 500  # Images to learn from.
DRAWS = 5  # Of images.
BATCH, RATE, MOMENTUM = 25, 0.02, 0.9
ROUNDS, STEPS = 10, 20  # Losses are looked at after each round of so many steps.
DECAY, DROP, SHIFT = 0.02, 0.5, 1  # Of weights, of values, and by pixels.


@dataclass(frozen=True, slots=True)
class Way:
    """What is done against overfitting.

    Args:
        decay: how strongly weights are pulled to zero: added to each gradient, times the weight.
        drop: share of values that dropout takes away before each dense layer.
        shift: pixels by which images are moved at most, along each side.
        images: to learn from.
    """

    decay: float = 0.0
    drop: float = 0.0
    shift: int = 0
    images: int = FEW


WAYS = {
    "nothing": Way(),
    "weight decay": Way(decay=DECAY),
    "dropout": Way(drop=DROP),
    "weight decay and dropout": Way(decay=DECAY, drop=DROP),
    "shifted images": Way(shift=SHIFT),
    "more images": Way(images=MORE),
}


class Shifted(nn.Module):
    """In training, move each image by some whole pixels of its own, along both sides; its edge is dark.

    Args:
        most: pixels.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """Return images of the same size."""
        if not self.training or self.most == 0:
            return x
        height, width = x.shape[2:]
        framed = F.pad(x, (self.most,) * 4, value=float(x.min()))
        corners = torch.randint(2 * self.most + 1, (len(x), 2)).tolist()
        pairs = zip(framed, corners, strict=True)
        return torch.stack([image[:, top : top + height, left : left + width] for image, (top, left) in pairs])


def large_network(way: Way, classes: int) -> nn.Sequential:
    """Build two convolutions and two dense layers, with what is done in the network itself."""
    network = nn.Sequential(
        OrderedDict(
            shifted=Shifted(way.shift),
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            act1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            act2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            drop1=nn.Dropout(way.drop),
            dense=nn.Linear(32 * (SIDE // 2) ** 2, 512),
            act3=nn.ReLU(),
            drop2=nn.Dropout(way.drop),
            output=nn.Linear(512, classes),
        )
    )
    initialise(network, "he")
    return network


def size_of_weights(network: nn.Module) -> float:
    """Return the root of the sum of the squares of all parameters."""
    return float(nn.utils.parameters_to_vector(network.parameters()).detach().norm())


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of one training.

    Args:
        known: share of the images it learned from that it gets right, in the end.
        unseen: share of others.
        losses: on images it learned from and on others, after each round.
        size: of its weights.
    """

    known: float
    unseen: float
    losses: tuple[tuple[float, float], ...]
    size: float


def compare_overfitting(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train the network in each way on each draw of images, and look at both losses; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of draws of images, of weights, of the images' order, and of what is kept to test on.
    """
    whole = read_small(data, SIDE, seed)
    found: dict[str, list[Learned]] = {name: [] for name in WAYS}
    begin = []
    draws = torch.Generator().manual_seed(seed)
    for draw in range(DRAWS):
        order = torch.randperm(len(whole.images), generator=draws)
        for place, (name, way) in enumerate(WAYS.items()):
            given = replace(whole, images=whole.images[order[: way.images]], labels=whole.labels[order[: way.images]])
            torch.manual_seed(seed + draw)
            network = large_network(way, given.classes)
            begin.append(size_of_weights(network))
            optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM, weight_decay=way.decay)
            losses = []
            for number in range(ROUNDS):
                part = (draw * len(WAYS) + place) * ROUNDS + number, DRAWS * len(WAYS) * ROUNDS
                epochs = STEPS * BATCH // way.images
                yield from fit(network, given, optimizer, epochs, BATCH, seed + number, part)
                losses.append(_losses(network, given))
            shares = accuracy(network, given.images, given.labels), accuracy(network, given.unseen, given.truth)
            found[name].append(Learned(*shares, tuple(losses), size_of_weights(network)))
    parameters = parameter_count(network)
    yield Outcome(
        "What helps against overfitting?",
        f"Two convolutions and two dense layers, {parameters:,} parameters, on {FEW} images of {whole.name} at "
        f"{SIDE} x {SIDE}, or on {MORE}; {ROUNDS * STEPS} steps with SGD (rate {RATE}, momentum {MOMENTUM}) in each "
        f"way, batches of {BATCH}, seed {seed}; judged by {len(whole.unseen):,} others. Weight decay {DECAY}: so much "
        f"of each weight is added to its gradient. Dropout takes {DROP:.0%} of the values before each dense layer. "
        f"Images are shifted by up to {SHIFT} pixel along each side, anew in each step. All figures are means over "
        f"{DRAWS} draws of images, the same for each way; the range is that of accuracy from draw to draw. Size of "
        f"weights: root of the sum of their squares; it begins at {mean(begin):.1f}.",
        (
            "against overfitting",
            "images",
            "accuracy in training",
            "accuracy",
            "its range",
            "loss in training",
            "loss",
            "size of weights",
        ),
        tuple(_row(name, found[name]) for name in WAYS),
        (
            Chart("Loss on images it learned from", "step", "loss", _curves(found, 0), log=True),
            Chart("Loss on others", "step", "loss", _curves(found, 1), log=True),
        ),
    )


def _losses(network: nn.Module, given: SmallSet) -> tuple[float, float]:
    return mean_loss(network, given.images, given.labels), mean_loss(network, given.unseen, given.truth)


def _row(name: str, learned: list[Learned]) -> tuple[Cell, ...]:
    shares = [each.unseen for each in learned]
    return (
        name,
        WAYS[name].images,
        f"{mean(each.known for each in learned):.1%}",
        f"{mean(shares):.1%}",
        f"{min(shares):.1%} to {max(shares):.1%}",
        *(f"{mean(each.losses[-1][which] for each in learned):.3g}" for which in (0, 1)),
        f"{mean(each.size for each in learned):.1f}",
    )


def _curves(found: dict[str, list[Learned]], which: int) -> dict[str, list[tuple[float, float]]]:
    """Return one of both losses of each way, the mean over draws."""
    return {
        name: [
            (float(STEPS * (number + 1)), mean(each.losses[number][which] for each in learned))
            for number in range(ROUNDS)
        ]
        for name, learned in found.items()
    }
