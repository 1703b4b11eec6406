"""A plain loop for small networks that are no zoo's, on images in memory."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from striate.data.preprocessing import Preprocessing
from striate.data.sets import ImageTensors
from striate.data.source import finish, read_data
from striate.data.statistics import mean_and_std
from striate.data.transforms import normalise
from striate.errors import UsageError
from striate.jobs.cost import cost
from striate.jobs.experiments.outcome import Trying

AT_ONCE = 256
JUDGED = 1000  # Unseen images at most: so many tell accuracies that differ by two points apart.


@dataclass(frozen=True, slots=True)
class SmallSet:
    """Images in memory, to learn from and to test on.

    Args:
        name: of the data.
        images: to learn from, normalised.
        labels: of these, or of each of their pixels.
        unseen: images to test on.
        truth: their labels.
        classes: how many.
    """

    name: str
    images: Float32[Tensor, "N C H W"]
    labels: Int64[Tensor, " N *place"]
    unseen: Float32[Tensor, "M C H W"]
    truth: Int64[Tensor, " M *place"]
    classes: int


def read_small(data: str, side: int, seed: int, most: int | None = None) -> SmallSet:
    """Read a set of grey images in memory, such as ``digits`` or ``mnist``; at most `JUDGED` of them to test on.

    Args:
        data: as ``striate train`` takes it.
        side: pixels that images are scaled to.
        seed: of what is kept to test on, where the set has no such part, and of what is left out.
        most: images to learn from, at most; all by default.

    Raises:
        UsageError: for any other data.
    """
    splits = finish(read_data(data, seed))
    parts = []
    for part, count in ((splits.train, most), (splits.judged[1], JUDGED)):
        if not isinstance(part, ImageTensors) or part.channels != 1:
            raise UsageError(
                expected="grey images in memory, such as digits or mnist",
                received=data,
                remedy="Leave --data out, or give mnist.",
            )
        parts.append(_some(part, count, seed).prepared(1, (side, side), None))
    train, test = parts
    mean, std = mean_and_std(train, seed)
    preprocessing = Preprocessing(image_size=(side, side), mean=mean, std=std)
    images, unseen = (normalise(part.images, preprocessing) for part in (train, test))
    return SmallSet(splits.name, images, train.labels, unseen, test.labels, len(train.classes))


def _some(part: ImageTensors, most: int | None, seed: int) -> ImageTensors:
    """Return the images, or so many of them, drawn."""
    if most is None or len(part) <= most:
        return part
    return part.subset(torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:most])


def fit(
    network: nn.Module,
    given: SmallSet,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int,
    seed: int,
    part: tuple[int, int] = (0, 1),
    loss_of: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Generator[Trying, None, list[tuple[float, float]]]:
    """Train a network, and return each step's number from 0, and its loss, the mean over its batch.

    Args:
        network: of logits.
        given: images.
        optimizer: of its parameters.
        epochs: passes over the images.
        batch_size: images of a step.
        seed: of their order.
        part: which of how many networks it is, for what is told of how far an experiment is.
        loss_of: logits and labels.
    """
    place, count = part
    draws = torch.Generator().manual_seed(seed)
    losses: list[tuple[float, float]] = []
    steps = epochs * -(-len(given.images) // batch_size)
    network.train()
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(given.images), generator=draws), batch_size):
            optimizer.zero_grad()
            loss = loss_of(network(given.images[chosen]), given.labels[chosen])
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append((float(len(losses)), loss.item()))
            yield Trying(place * steps + len(losses), count * steps)
    return losses


def accuracy(network: nn.Module, images: Float32[Tensor, "N 1 H W"], labels: Int64[Tensor, " N"]) -> float:
    """Return the share of images whose class a network says."""
    return int((logits(network, images).argmax(1) == labels).sum()) / len(images)


def mean_loss(network: nn.Module, images: Float32[Tensor, "N 1 H W"], labels: Int64[Tensor, " N"]) -> float:
    """Return the cross-entropy of what a network says, the mean over images."""
    return F.cross_entropy(logits(network, images), labels).item()


@torch.no_grad()
def logits(
    network: nn.Module, images: Float32[Tensor, "N C H W"], at_once: int = AT_ONCE
) -> Float32[Tensor, "N K *place"]:
    """Return what a network says in evaluation mode; it is left in the mode that it was in."""
    was_training = network.training
    network.eval()
    said = torch.cat([network(part) for part in torch.split(images, at_once)])
    network.train(was_training)
    return said


def peak_of_step(network: nn.Module, side: int, batch_size: int) -> int:
    """Return the bytes that a step with Adam takes at most, on grey images of so many pixels along each side."""
    image = (1, side, side)
    found = cost(network, image, batch_size=batch_size, mode="training", optimizer="adam", channels_last=False)
    return found.peak.size
