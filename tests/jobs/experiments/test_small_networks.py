"""Parts of small networks, counted by hand."""

import torch
from torch import nn

from striate.jobs.experiments.networks import convolutions, dense_on_means, perceptron


def test_a_perceptron_has_one_hidden_layer() -> None:
    torch.manual_seed(0)
    network = perceptron(5, 7, 3)
    assert [tuple(parameter.shape) for parameter in network.parameters()] == [(7, 25), (7,), (3, 7), (3,)]
    images = torch.randn(2, 1, 5, 5)
    hidden, _, output, _ = network.parameters()
    torch.testing.assert_close(network(images), (images.flatten(1) @ hidden.T).clamp(min=0) @ output.T)


def test_maps_are_halved_between_convolutions_and_not_behind_the_last() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(convolutions((4, 6, 8)))
    assert list(body._modules) == ["conv0", "act0", "pool0", "conv1", "act1", "pool1", "conv2", "act2"]
    maps = body(torch.randn(2, 1, 12, 8))
    assert maps.shape == (2, 8, 3, 2)
    head = nn.Sequential(dense_on_means(8, 3))
    torch.testing.assert_close(head(maps), head.get_submodule("output")(maps.mean((2, 3))))
