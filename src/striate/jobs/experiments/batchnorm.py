"""Batch norm: what it divides by when it is to predict, and what it does for training.

In training each map is normalised by mean and variance of its own batch (Ioffe and Szegedy, "Batch normalization",
2015, algorithm 1). An answer must not hang on which images happen to come along, so at prediction those of the training
images take their place (algorithm 2, which takes the mean over training batches of the finished network). Which they
are is a choice: torch keeps an average that moves by a tenth in each batch, which knows the last twenty or so; a mean
of all that were seen in training holds those of weights that are long gone; and one that is gathered anew belongs to
the weights that there are. Averaged weights are those of a network that never saw an image, so that the statistics of
any other do not fit them (Izmailov et al., "Averaging weights leads to wider optima", 2018, section 3.2).

What it does for training shows at a large learning rate, at which the same network without it does not learn.
"""

from collections.abc import Callable, Generator, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, update_bn

from striate.blocks.initialisation import initialise
from striate.jobs.experiments.fitting import SmallSet, fit, logits, read_small
from striate.jobs.experiments.outcome import Chart, Outcome, Trying
from striate.training.averages import Average

SIDE = 8
BATCH, EPOCHS, MOMENTUM = 32, 6, 0.9
SMALL, LARGE = 0.05, 0.5
SIZES = (2, 8, 64, 256)  # Of batches that are judged by their own statistics.
MOST = 1000  # Images to learn from.
DECAY = 0.95  # Of the moving average of weights, a step.


def small_network(classes: int, *, norm: bool) -> nn.Sequential:
    """Build three convolutions with or without batch norm, and a dense layer on the means of their maps."""
    network = nn.Sequential()
    for before, after in ((1, 16), (16, 32), (32, 32)):
        network.append(nn.Conv2d(before, after, 3, padding=1))
        if norm:
            network.append(nn.BatchNorm2d(after))
        network.append(nn.ReLU())
    network.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes)])
    initialise(network, "he")
    return network


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the batch norms of a network, in order."""
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


def record(network: nn.Module) -> tuple[list[nn.BatchNorm2d], Callable[[], None]]:
    """Put beside each batch norm one that keeps the mean of all batches seen in training, and return how to end it."""
    twins = [nn.BatchNorm2d(norm.num_features, momentum=None, affine=False) for norm in norms(network)]

    def beside(twin: nn.BatchNorm2d) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def see(norm: nn.Module, inputs: tuple[Tensor]) -> None:
            if norm.training:
                twin(inputs[0].detach())

        return see

    pairs = zip(norms(network), twins, strict=True)
    handles = [norm.register_forward_pre_hook(beside(twin)) for norm, twin in pairs]

    def end() -> None:
        for handle in handles:
            handle.remove()

    return twins, end


def with_statistics(network: nn.Module, kept: list[nn.BatchNorm2d]) -> nn.Module:
    """Return a copy of a network that predicts by the statistics of other batch norms."""
    copy = deepcopy(network)
    for norm, other in zip(norms(copy), kept, strict=True):
        norm.running_mean, norm.running_var = other.running_mean, other.running_var
    return copy


def gathered_anew(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy that predicts by the mean of the statistics of all batches of the given images."""
    copy = deepcopy(network)
    update_bn(torch.split(images, BATCH), copy)
    return copy


def by_its_batch(network: nn.Module) -> nn.Module:
    """Return a copy that predicts by the statistics of whatever batch it is shown."""
    copy = deepcopy(network)
    for norm in norms(copy):
        norm.running_mean = norm.running_var = None
    return copy


@dataclass(frozen=True, slots=True)
class Trained:
    """What is left of a training with batch norm.

    Args:
        network: with the last weights, and torch's moving average of statistics.
        recorded: batch norms that hold the mean of the statistics of all batches of the training.
        mean: the network with the mean of the weights of all steps in its second half.
        moving: the network with a moving average of weights, and of statistics.
    """

    network: nn.Module
    recorded: list[nn.BatchNorm2d]
    mean: nn.Module
    moving: nn.Module


def train(
    network: nn.Module, given: SmallSet, rate: float, seed: int, part: tuple[int, int]
) -> Generator[Trying, None, tuple[Trained, list[tuple[float, float]]]]:
    """Train a network, and return what is left of it, and the loss of each step."""
    mean = AveragedModel(network)
    moving = Average(network, "ema", decay=DECAY)
    recorded, end = record(network)
    optimizer = torch.optim.SGD(network.parameters(), rate, MOMENTUM)
    total = EPOCHS * -(-len(given.images) // BATCH)
    steps = count(1)

    def average(*_: object) -> None:
        done = next(steps) / total
        moving.update(done)
        if done > 0.5:
            mean.update_parameters(network)

    optimizer.register_step_post_hook(average)
    losses = yield from fit(network, given, optimizer, EPOCHS, BATCH, seed, part)
    end()
    return Trained(network, recorded, mean.module, moving.network(list)), losses


def judged(trained: Trained, given: SmallSet, seed: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Return accuracy and loss on unseen images, in an order that is drawn, by whose weights and which statistics."""
    order = torch.randperm(len(given.unseen), generator=torch.Generator().manual_seed(seed))
    images, truth = given.unseen[order], given.truth[order]
    network, mean, moving = trained.network, trained.mean, trained.moving
    own = by_its_batch(network)
    said = {("last", f"of its batch of {size}"): logits(own, images, size) for size in SIZES}
    alone = torch.empty_like(said["last", f"of its batch of {SIZES[0]}"])
    for label in range(given.classes):
        alone[truth == label] = logits(own, images[truth == label], len(images))
    said["last", "of its batch, all of one class"] = alone
    said["last", "moving average of the training"] = logits(network, images)
    said["last", "mean of the whole training"] = logits(with_statistics(network, trained.recorded), images)
    said["last", "gathered anew"] = logits(gathered_anew(network, given.images), images)
    said["mean of the second half", "as with the last weights"] = logits(with_statistics(mean, norms(network)), images)
    said["mean of the second half", "gathered anew"] = logits(gathered_anew(mean, given.images), images)
    said["moving average", "moved along"] = logits(moving, images)
    said["moving average", "gathered anew"] = logits(gathered_anew(moving, given.images), images)
    return {
        name: (int((each.argmax(1) == truth).sum()) / len(truth), F.cross_entropy(each, truth).item())
        for name, each in said.items()
    }


def compare_batchnorm(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train with and without batch norm at two rates, and judge by each kind of statistics; last is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, and of what is kept to test on.
    """
    given = read_small(data, SIDE, seed, MOST)
    kinds = [(rate, norm) for rate in (SMALL, LARGE) for norm in (False, True)]
    losses: dict[str, list[tuple[float, float]]] = {}
    found = []
    for place, (rate, norm) in enumerate(kinds):
        torch.manual_seed(seed)
        network = small_network(given.classes, norm=norm)
        name = f"{'with' if norm else 'without'} batch norm, rate {rate:g}"
        trained, losses[name] = yield from train(network, given, rate, seed, (place, len(kinds)))
        if norm:
            found.append(judged(trained, given, seed))
    rows = [
        (
            f"{name[0]}: {name[1]}",
            *(cell for each in found for cell in (f"{each[name][0]:.1%}", f"{each[name][1]:.3f}")),
        )
        for name in found[0]
    ]
    yield Outcome(
        "What does batch norm use at prediction, and what does it do for training?",
        f"Three convolutions, each with batch norm, on {len(given.images):,} images of {given.name} at "
        f"{SIDE} x {SIDE}; {EPOCHS} epochs with SGD (momentum {MOMENTUM}), batches of {BATCH}, seed {seed}; judged by "
        f"{len(given.unseen):,} others. Each row is named by the weights that predict, and by the mean and variance "
        "that batch norm uses with them. Of its batch: of the images that are judged at the same time. Moving average "
        "of the training: torch's, to which each batch gives a tenth. Mean of the whole training: of all batches as "
        "they were seen, by weights as they were then. Gathered anew: mean of all batches of the images to learn from, "
        "seen once more by the weights that predict. Weights are the last ones, or the mean of those of all steps in "
        f"the second half, or a moving average, which keeps {DECAY:.0%} in each step, and moves statistics along in "
        "the same way. The chart sets the losses beside those of the same network without batch norm.",
        (
            "weights: mean and variance",
            *(f"{what}, rate {rate:g}" for rate in (SMALL, LARGE) for what in ("accuracy", "loss")),
        ),
        tuple(rows),
        (Chart("Loss of each step", "step", "loss", losses, log=True),),
    )
