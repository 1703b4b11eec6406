"""Paths of optimizers down a ravine, and on a real network.

On f(x, y) = x² / 20 + y² the gradient points across the ravine rather than along it: plain gradient descent goes
zigzag, momentum smooths it out, AdaGrad slows down with all that it has ever seen, RMSProp forgets, and Adam does as
RMSProp with momentum, corrected for its beginning.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

from striate.jobs.experiments.fitting import accuracy, fit, read_small
from striate.jobs.experiments.networks import perceptron
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying

BEGIN, STEPS = (-7.0, 2.0), 40
# Each with a rate that suits it on the ravine, and one for the network.
OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], float, float, dict[str, float]]] = {
    "SGD": (torch.optim.SGD, 0.95, 0.1, {}),
    "momentum": (torch.optim.SGD, 0.1, 0.02, {"momentum": 0.9}),
    "AdaGrad": (torch.optim.Adagrad, 1.5, 0.02, {}),
    "RMSProp": (torch.optim.RMSprop, 0.3, 0.001, {"alpha": 0.9}),
    "Adam": (torch.optim.Adam, 0.3, 0.002, {}),
    "Nadam": (torch.optim.NAdam, 0.3, 0.002, {}),
}
HIDDEN, BATCH, EPOCHS, SIDE = 64, 32, 4, 8
MOST = 2000  # Images to learn from.


def height(place: Tensor) -> Tensor:
    """Return x² / 20 + y²."""
    return place[0] ** 2 / 20 + place[1] ** 2


def walk(name: str) -> list[tuple[float, float]]:
    """Return where one of `OPTIMIZERS` is after each of `STEPS` steps, where it begins first."""
    make, rate, _, options = OPTIMIZERS[name]
    place = torch.tensor(BEGIN, dtype=torch.float64, requires_grad=True)
    optimizer = make([place], lr=rate, **options)
    path = [BEGIN]
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.autograd.backward(height(place))
        optimizer.step()
        path.append((place[0].item(), place[1].item()))
    return path


def compare_optimizers(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Let each optimizer walk down the ravine, and train the same small network; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of the images' order, and of what is kept to test on.
    """
    given = read_small(data, SIDE, seed, MOST)
    rows: list[tuple[Cell, ...]] = []
    paths: dict[str, list[tuple[float, float]]] = {}
    losses: dict[str, list[tuple[float, float]]] = {}
    for place, (name, (make, slope, rate, options)) in enumerate(OPTIMIZERS.items()):
        paths[name] = walk(name)
        turns = sum(before[1] * after[1] < 0 for before, after in zip(paths[name], paths[name][1:], strict=False))
        torch.manual_seed(seed)
        network = perceptron(SIDE, HIDDEN, given.classes)
        optimizer = make(network.parameters(), lr=rate, **options)
        losses[name] = yield from fit(network, given, optimizer, EPOCHS, BATCH, seed, (place, len(OPTIMIZERS)))
        last = height(torch.tensor(paths[name][-1])).item()
        share = accuracy(network, given.unseen, given.truth)
        rows.append((name, slope, turns, f"{last:.2g}", rate, f"{share:.2%}"))
    yield Outcome(
        "How do optimizers walk?",
        f"On x² / 20 + y², {STEPS} steps from {BEGIN}; and a network with {HIDDEN} hidden numbers on "
        f"{len(given.images):,} images of {given.name}, {EPOCHS} epochs, batches of {BATCH}, seed {seed}; judged by "
        f"{len(given.unseen):,} others.",
        (
            "optimizer",
            "rate on the ravine",
            "times that it crosses the bottom",
            f"height after {STEPS} steps",
            "rate for the network",
            "accuracy",
        ),
        tuple(rows),
        (
            Chart("Paths on the ravine: it falls to the middle", "x", "y", paths),
            Chart("Loss of each step of the network", "step", "loss", losses, log=True),
        ),
    )
