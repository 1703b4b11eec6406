"""Why not to choose on the test set: what is told of the best of many networks is too good to be true.

Each network's accuracy on some images is what it is worth plus luck with these images. Who takes the best of many takes
the one with much of both, and on other images the luck is gone. The more networks there are to choose from, and the
fewer images they are judged on, the more of it is luck (Hastie, Tibshirani and Friedman, "The elements of statistical
learning", 2009, section 7.2, on a vault that a test set should be kept in). A choice by a validation set is as lucky
with that set; but the test set, looked at once and after the choice, knows nothing of it, and tells the truth on
average.

All networks are trained once. What is drawn again and again is which of all other images are the test set, which the
validation set, and which, by far the most, are fresh: seen by nobody, and so the judge of what was told.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

import torch
from jaxtyping import Bool
from torch import Tensor

from striate.jobs.experiments.fitting import SmallSet, fit, logits, read_small
from striate.jobs.experiments.networks import perceptron
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

SIDE = 8
MOST, LEARNED = 2000, 100  # Images to learn from: that are read, and that networks do learn from.
CANDIDATES, BATCH, EPOCHS = 100, 25, 15
HIDDEN = (8, 16, 32, 64)  # A candidate has one of these,
RATES = (0.002, 0.05)  # and a learning rate between these.
SIZES = (25, 50, 100, 200)  # Images of a test set, and of a validation set.
DRAWS = 300  # Of test, validation and fresh images.
NUMBERS, CHARTED = (1, 2, 5, 10, 20, 50, 100), 50  # Candidates to choose from, judged by so many images.


@dataclass(frozen=True, slots=True)
class Choice:
    """What one choice came to.

    Args:
        told: accuracy on the test set.
        fresh: accuracy on images that nobody looked at.
    """

    told: float
    fresh: float


def choices(right: Bool[Tensor, "C M"], size: int, seed: int) -> tuple[list[Choice], list[Choice]]:
    """Choose the best candidate by the test set, and by a validation set, once for each of `DRAWS` of both.

    Args:
        right: which candidate is right on which image.
        size: images of the test set, and of the validation set; all others are fresh.
        seed: of the draws.
    """
    draws = torch.Generator().manual_seed(seed)
    whole = right.double()
    by_test: list[Choice] = []
    by_validation: list[Choice] = []
    for _ in range(DRAWS):
        order = torch.randperm(whole.shape[1], generator=draws)
        test, validation = whole[:, order[:size]].mean(1), whole[:, order[size : 2 * size]].mean(1)
        fresh = whole[:, order[2 * size :]].mean(1)
        for found, judge in ((by_test, test), (by_validation, validation)):
            best = int(judge.argmax())
            found.append(Choice(float(test[best]), float(fresh[best])))
    return by_test, by_validation


def too_high(found: Sequence[Choice]) -> list[float]:
    """Return by how much each choice is told to be better than it is."""
    return [each.told - each.fresh for each in found]


def trained(few: SmallSet, others: Tensor, truth: Tensor, seed: int) -> Generator[Trying, None, Bool[Tensor, "C M"]]:
    """Train all candidates on a few images, and return which of them is right on which of the others."""
    draws = torch.Generator().manual_seed(seed)
    right = []
    for place in range(CANDIDATES):
        hidden = HIDDEN[int(torch.randint(len(HIDDEN), (), generator=draws))]
        low, high = RATES
        rate = low * (high / low) ** float(torch.rand((), generator=draws))
        torch.manual_seed(seed * CANDIDATES + place)
        network = perceptron(SIDE, hidden, few.classes)
        optimizer = torch.optim.Adam(network.parameters(), rate)
        yield from fit(network, few, optimizer, EPOCHS, BATCH, seed, (place, CANDIDATES))
        right.append(logits(network, others).argmax(1) == truth)
    return torch.stack(right)


def compare_tuning(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train candidates, and choose among them by images that they are then judged by, or not; last is the outcome.

    Args:
        data: grey images in memory.
        seed: of candidates, of the images they learn from, and of draws of the others.
    """
    read = read_small(data, SIDE, seed, MOST)
    few = replace(read, images=read.images[:LEARNED], labels=read.labels[:LEARNED])
    others = torch.cat([read.images[LEARNED:], read.unseen])[:MOST]
    truth = torch.cat([read.labels[LEARNED:], read.truth])[:MOST]
    right = yield from trained(few, others, truth, seed)
    rows: list[tuple[Cell, ...]] = []
    for size in SIZES:
        for name, found in zip(("the test set", "a validation set"), choices(right, size, seed), strict=True):
            gaps = too_high(found)
            rows.append(
                (
                    f"{name} of {size}",
                    f"{mean(each.told for each in found):.1%}",
                    f"{mean(each.fresh for each in found):.1%}",
                    f"{100 * mean(gaps):+.1f}",
                    f"{100 * stdev(gaps):.1f}",
                    f"{mean(gap > 0 for gap in gaps):.0%}",
                )
            )
    curves: dict[str, list[tuple[float, float]]] = {"by the test set": [], "by a validation set": []}
    for number in NUMBERS:
        for curve, found in zip(curves.values(), choices(right[:number], CHARTED, seed), strict=True):
            curve.append((float(number), 100 * mean(too_high(found))))
    worth = right.double().mean(1)
    yield Outcome(
        "What does a choice made on the test set cost?",
        f"{CANDIDATES} networks of {min(HIDDEN)} to {max(HIDDEN)} hidden numbers, with learning rates of {RATES[0]:g} "
        f"to {RATES[1]:g} and weights of their own, learn from the same {LEARNED} images of {read.name} at {SIDE} x "
        f"{SIDE}; {EPOCHS} epochs with Adam, batches of {BATCH}, seed {seed}. Of {len(others):,} others they get "
        f"{float(worth.min()):.1%} to {float(worth.max()):.1%} right, and half of them more than "
        f"{float(worth.median()):.1%}. {DRAWS} times a test set and a validation set of the same size are drawn from "
        "these, and all the rest are fresh images. Chosen is the network that is best on the test set, or on the "
        "validation set; what is told of it is its accuracy on the test set, in both cases. The spread is the standard "
        "deviation from draw to draw.",
        (
            "chosen by",
            "told: accuracy on the test set",
            "accuracy on fresh images",
            "told too high by, points",
            "its spread",
            "draws in which it is told too high",
        ),
        tuple(rows),
        (
            Chart(
                f"How much too high the test set speaks, at {CHARTED} images",
                "networks to choose from",
                "points",
                curves,
            ),
        ),
    )
