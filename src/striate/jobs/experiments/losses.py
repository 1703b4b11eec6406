"""Why a network learns from a loss and not from its accuracy, and which loss goes with which output.

Accuracy counts images. As weights move, it stays as it is until one image falls to the other side, and then jumps: its
gradient is zero almost everywhere, and says nothing of where to go. A loss changes with each weight, however little.
Softmax with cross-entropy, and the identity with half the sum of squares, are made for each other: the gradient by what
goes into the output is y - t, what is said less the truth. With half the sum of squares over a softmax it is multiplied
by the slopes of softmax besides, which are next to nothing where it is sure, even of what is wrong: it takes larger
steps to learn as well. So that no loss is judged at the rate of another, each has the one of many that is best for
images set aside.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import log10
from operator import itemgetter
from statistics import mean

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from striate.data.source import finish
from striate.jobs.experiments.fitting import SmallSet, accuracy, fit, read_small
from striate.jobs.experiments.networks import perceptron
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE, HIDDEN = 8, 64
BATCH, HALF = 32, 4  # Epochs before weights are moved, and after that.
WEIGHTS, STEP = 200, 1e-4  # Weights that are moved alone, and by how much.
MOST, ASIDE = 2000, 300  # Images to learn from, and those of them that rates are chosen by.
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # Of SGD,
DRAWS = 3  # each with so many draws of weights.
PLACES, FAR = 201, 1.0  # Along a line, and how far from the middle its ends are.


def half_of_squares(said: Tensor, labels: Tensor) -> Tensor:
    """Return half the sum of squares between what is said and 1 for the true class, 0 for the others: a mean over N."""
    return (said - F.one_hot(labels, said.shape[1])).square().sum() / 2 / len(said)


# Losses of logits and labels.
WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax, cross-entropy": F.cross_entropy,
    "softmax, half the sum of squares": lambda logits, labels: half_of_squares(logits.softmax(1), labels),
    "identity, half the sum of squares": half_of_squares,
}


def set_aside(given: SmallSet, seed: int) -> SmallSet:
    """Return the images to learn from without `ASIDE` of them, which are the unseen ones."""
    order = torch.randperm(len(given.images), generator=torch.Generator().manual_seed(seed))
    few, aside = order[ASIDE:], order[:ASIDE]
    images, labels = given.images, given.labels
    return replace(given, images=images[few], labels=labels[few], unseen=images[aside], truth=labels[aside])


def worth(given: SmallSet, loss_of: Callable[[Tensor, Tensor], Tensor], rate: float, seed: int) -> float:
    """Return the accuracy on unseen images after a training at a rate, the mean over draws of weights."""
    shares = []
    for draw in range(seed, seed + DRAWS):
        torch.manual_seed(draw)
        network = perceptron(SIDE, HIDDEN, given.classes)
        optimizer = torch.optim.SGD(network.parameters(), rate)
        finish(fit(network, given, optimizer, 2 * HALF, BATCH, draw, loss_of=loss_of))
        shares.append(accuracy(network, given.unseen, given.truth))
    return mean(shares)


class Landscape:
    """Loss and accuracy as functions of a network's weights, in 64-bit floats.

    Args:
        network: with weights, from which moves begin.
        given: of which the images to learn from are judged.
        loss_of: logits and labels.
    """

    def __init__(self, network: nn.Module, given: SmallSet, loss_of: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.network, self.loss_of = network, loss_of
        self.images, self.labels = given.images.double(), given.labels
        self.names, self.shapes = zip(*((name, each.shape) for name, each in network.named_parameters()), strict=True)
        self.middle = torch.cat([each.detach().flatten() for each in network.parameters()]).double()

    @torch.no_grad()
    def at(self, move: Float64[Tensor, " W"]) -> tuple[float, float]:
        """Return loss and accuracy after a move of all weights."""
        parts = torch.split(self.middle + move, [shape.numel() for shape in self.shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}
        logits = functional_call(self.network, weights, self.images)
        right = int((logits.argmax(1) == self.labels).sum())
        return float(self.loss_of(logits, self.labels)), right / len(self.labels)

    def unmoved(self, draws: torch.Generator) -> tuple[float, float]:
        """Return the share of single weights by whose step of `STEP` the loss stays as it was, and the accuracy."""
        before = self.at(torch.zeros_like(self.middle))
        same = [0, 0]
        chosen = torch.randperm(len(self.middle), generator=draws)[:WEIGHTS].tolist()
        for weight in chosen:
            move = torch.zeros_like(self.middle)
            move[weight] = STEP
            for place, (old, new) in enumerate(zip(before, self.at(move), strict=True)):
                same[place] += old == new
        return same[0] / len(chosen), same[1] / len(chosen)

    def line(self, draws: torch.Generator) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Return loss and accuracy, each by how far all weights went in a direction of chance."""
        direction = torch.randn(len(self.middle), generator=draws, dtype=torch.float64)
        direction /= direction.norm()
        ways = torch.linspace(-FAR, FAR, PLACES, dtype=torch.float64)
        found = [(float(way), *self.at(way * direction)) for way in ways]
        return [(way, loss) for way, loss, _ in found], [(way, share) for way, _, share in found]


def compare_losses(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train a network with each loss, and move its weights half-way; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, of what is kept to test on, and of how weights are moved.
    """
    given = read_small(data, SIDE, seed, MOST)
    chosen_by = set_aside(given, seed)
    rows: list[tuple[Cell, ...]] = []
    losses: dict[str, list[tuple[float, float]]] = {}
    lines: list[tuple[list[tuple[float, float]], list[tuple[float, float]]]] = []
    tried: dict[str, list[tuple[float, float]]] = {}
    for place, (name, loss_of) in enumerate(WAYS.items()):
        tried[name] = []
        for number, rate in enumerate(RATES, 1):
            tried[name].append((rate, worth(chosen_by, loss_of, rate, seed)))
            yield Trying(place * (len(RATES) + 1) + number, len(WAYS) * (len(RATES) + 1))
        best, _ = max(tried[name], key=itemgetter(1))
        torch.manual_seed(seed)
        network = perceptron(SIDE, HIDDEN, given.classes)
        optimizer = torch.optim.SGD(network.parameters(), best)
        first = finish(fit(network, given, optimizer, HALF, BATCH, seed, loss_of=loss_of))
        draws = torch.Generator().manual_seed(seed)
        landscape = Landscape(network, given, loss_of)
        alone = landscape.unmoved(draws)
        lines.append(landscape.line(draws))
        second = finish(fit(network, given, optimizer, HALF, BATCH, seed + 1, loss_of=loss_of))
        yield Trying((place + 1) * (len(RATES) + 1), len(WAYS) * (len(RATES) + 1))
        losses[name] = first + [(len(first) + step, loss) for step, loss in second]
        rows.append(
            (
                name,
                *(f"{share:.1%}" for share in alone),
                *(len({value for _, value in points}) for points in lines[-1]),
                best,
                f"{accuracy(network, given.unseen, given.truth):.2%}",
            )
        )
    (loss, share), parameters = lines[0], landscape.middle.numel()
    yield Outcome(
        "Why is a network trained by a loss, and not by its accuracy?",
        f"A network with {HIDDEN} hidden numbers, {parameters:,} weights in all, on {len(given.images):,} images of "
        f"{given.name}: {2 * HALF} epochs with SGD, batches of {BATCH}, seed {seed}; accuracy is that on "
        f"{len(given.unseen):,} others. The rate is that of {', '.join(f'{rate:g}' for rate in RATES)} at which the "
        f"same network, having learned from all but {len(chosen_by.unseen)} of the images, got most of these right, "
        f"the mean over {DRAWS} draws of weights. Half-way, {WEIGHTS} weights are moved by {STEP:g}, one at "
        f"a time, and all of them together to {PLACES} places on a line in a direction of chance; how many different "
        "losses and accuracies there are along it, on the images to learn from, tells a slope from a staircase.",
        (
            "output and loss",
            "single weights that leave the loss as it was",
            "that leave the accuracy as it was",
            "different losses along the line",
            "different accuracies along it",
            "rate",
            "accuracy",
        ),
        tuple(rows),
        (
            Chart("Along the line: loss", "distance", "cross-entropy", {"loss": loss}),
            Chart("Along the line: accuracy", "distance", "share of images", {"accuracy": share}),
            Chart("Loss of each step", "step", "loss", losses, log=True),
            Chart("Accuracy on images set aside, by the rate", "rate, as a power of ten", "accuracy", _powers(tried)),
        ),
    )


def _powers(curves: dict[str, list[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
    return {name: [(log10(rate), share) for rate, share in points] for name, points in curves.items()}
