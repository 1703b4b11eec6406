"""What a trained network is worth on a set of images whose classes or numbers are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from striate.data.sets import ImageSet

BINS = 15
TOP = 5


@dataclass(frozen=True, slots=True)
class ClassWorth:
    """How well one class is told from the others.

    Args:
        name: of the class.
        images: that are of it.
        precision: the share of those taken for it that are; None where none were.
        recall: the share of its images that were taken for it; None where there are none.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions about as sure as each other.

    Args:
        images: in it.
        confidence: the mean probability of the class said.
        accuracy: the share of them that is right.
    """

    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What a network said of a set of images, and how right it was.

    Args:
        images: the set.
        said: how probable each class is, N x classes, or N numbers in their own unit.
        metrics: by name; see `judge_classes` and `judge_numbers`.
        classes: the worth of each; none for numbers.
        confusion: images of each class (rows) taken for each class (columns).
        calibration: predictions by how sure they were, least sure first; bins without images are left out.
    """

    images: ImageSet
    said: Float[Tensor, "N K"] | Float[Tensor, " N"]
    metrics: Mapping[str, float]
    classes: tuple[ClassWorth, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: tuple[Bin, ...] = ()

    @property
    def right(self) -> int:
        """Images whose class was said rightly."""
        return sum(row[place] for place, row in enumerate(self.confusion))


def shown_places(worth: Sequence[float | None], spread: int, worst: int) -> tuple[int, ...]:
    """Return the places of images to show: some of all, evenly spread, and then those of the least worth.

    Args:
        worth: of each image; None for one that is not to be shown.
        spread: so many of all.
        worst: so many besides.
    """
    known = {place: value for place, value in enumerate(worth) if value is not None}
    places, count = list(known), len(known)
    chosen = [places[number * count // spread] for number in range(spread)] if count > spread else places
    others = sorted((place for place in places if place not in chosen), key=known.__getitem__)
    return (*chosen, *others[:worst])


def judge(outputs: Float[Tensor, "N K"], images: ImageSet, scale: tuple[float, float] | None) -> Judged:
    """Judge a network's outputs: logits, or numbers before they are scaled."""
    return judge_classes(outputs, images) if scale is None else judge_numbers(outputs, images, scale)


def judge_classes(logits: Float[Tensor, "N K"], images: ImageSet) -> Judged:
    """Judge logits by the images' classes.

    The metrics are ``accuracy``; ``top5``, the share of images whose class is among the five most probable, where there
    are more; ``cross_entropy``; and ``calibration_error``: how far accuracy is from the probability said, the mean over
    images in 15 bins of probability (Guo et al., "On calibration of modern neural networks", 2017, equation 3).
    """
    labels, count = images.labels, logits.shape[1]
    shares = logits.float().softmax(1)
    sure, taken = shares.max(1)
    right = taken == labels
    confusion = torch.bincount(labels * count + taken, minlength=count**2).view(count, count)
    # A probability of 1 belongs to the last bin.
    places = (sure * BINS).long().clamp(max=BINS - 1)
    bins = tuple(
        Bin(int(here.sum()), float(sure[here].mean()), float(right[here].double().mean()))
        for here in (places == place for place in range(BINS))
        if here.any()
    )
    metrics = {"accuracy": float(right.double().mean())}
    if count > TOP:
        metrics[f"top{TOP}"] = float((logits.topk(TOP, 1).indices == labels[:, None]).any(1).double().mean())
    metrics["cross_entropy"] = float(F.cross_entropy(logits.float(), labels))
    metrics["calibration_error"] = sum(b.images * abs(b.accuracy - b.confidence) for b in bins) / len(labels)
    worth = tuple(
        ClassWorth(name, int(confusion[place].sum()), *_shares(confusion, place))
        for place, name in enumerate(images.classes)
    )
    rows = tuple(map(tuple, confusion.tolist()))
    return Judged(images, shares, metrics, worth, rows, bins)


def _shares(confusion: Tensor, place: int) -> tuple[float | None, float | None]:
    right, taken, truly = (
        int(part) for part in (confusion[place, place], confusion[:, place].sum(), confusion[place].sum())
    )
    return (right / taken if taken else None), (right / truly if truly else None)


def judge_numbers(outputs: Float[Tensor, "N 1"], images: ImageSet, scale: tuple[float, float]) -> Judged:
    """Judge a network's outputs by the images' numbers.

    The metrics are ``rmse`` and ``mae`` in the numbers' own unit, and ``r2``, the share of their variance that is
    explained, where they differ.
    """
    said = outputs.double()[:, 0] * scale[0] + scale[1]
    truth = images.labels.double()
    squared, variance = float(((said - truth) ** 2).mean()), float(truth.var(correction=0))
    metrics = {"rmse": squared**0.5, "mae": float((said - truth).abs().mean())}
    if variance > 0:
        metrics["r2"] = 1 - squared / variance
    return Judged(images, said, metrics)
