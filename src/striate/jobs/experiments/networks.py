"""Small networks that several experiments train, and parts of them."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from striate.blocks.initialisation import initialise


def perceptron(side: int, hidden: int, classes: int) -> nn.Sequential:
    """Build a network of one hidden layer for grey images of so many pixels along each side."""
    layers = OrderedDict[str, nn.Module](
        flatten=nn.Flatten(), dense=nn.Linear(side**2, hidden), act=nn.ReLU(), output=nn.Linear(hidden, classes)
    )
    network = nn.Sequential(layers)
    initialise(network, "he")
    return network


def convolutions(widths: Sequence[int]) -> OrderedDict[str, nn.Module]:
    """Return 3x3 convolutions of so many maps for grey images, with ReLU behind each and max pooling between them."""
    layers = OrderedDict[str, nn.Module]()
    for place, (before, after) in enumerate(pairwise([1, *widths])):
        if place > 0:
            layers[f"pool{place - 1}"] = nn.MaxPool2d(2)
        layers[f"conv{place}"] = nn.Conv2d(before, after, 3, padding=1)
        layers[f"act{place}"] = nn.ReLU()
    return layers


def dense_on_means(maps: int, classes: int) -> OrderedDict[str, nn.Module]:
    """Return a dense layer on the mean of each of so many maps."""
    return OrderedDict(mean=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), output=nn.Linear(maps, classes))


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
