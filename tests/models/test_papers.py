"""What the papers say of their networks, layer by layer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.costing.layers import layer_costs
from striate.zoo import create_model


def counts(name: str, input_shape: tuple[int, int, int]) -> list[int]:
    return [layer.parameters for layer in layer_costs(create_model(name), input_shape) if layer.parameters]


def test_lenet5_has_the_papers_layers_but_for_its_partial_table() -> None:
    c1, c3, c5, f6, output = counts("lenet5", (1, 32, 32))
    assert (c1, c5, f6) == (156, 48_120, 10_164)  # LeCun et al. 1998, section II.B
    assert c3 == 1_516 + 900  # "C3 has 1,516 trainable parameters": table I leaves 36 of 96 kernels of 25 out.
    assert (96 - 60) * 25 == 900
    assert output == 85 * 10
    assert 156 + 12 + 1_516 + 32 + 48_120 + 10_164 == 60_000  # the paper's own sum


def test_lenet5_28_and_mnist_cnn_layer_by_layer() -> None:
    assert counts("lenet5_28", (1, 28, 28)) == [156, 2_416, 30_840, 10_164, 850]
    assert counts("mnist_cnn", (1, 28, 28)) == [320, 18_496, 36_928, 1_605_760, 1_290]


@pytest.mark.parametrize(
    ("name", "squash", "pool"),
    [("lenet5", torch.tanh, F.avg_pool2d), ("lenet5_28", torch.sigmoid, F.max_pool2d)],
)
def test_lenet_is_what_its_equations_say(name: str, squash: nn.Module, pool: nn.Module) -> None:
    network = create_model(name).eval()
    w = list(network.parameters())
    x = torch.randn(2, 1, *((32, 32) if name == "lenet5" else (28, 28)))
    maps = pool(squash(F.conv2d(x, w[0], w[1])), 2)
    maps = pool(squash(F.conv2d(maps, w[2], w[3])), 2)
    hidden = squash(maps.flatten(1) @ w[4].T + w[5])
    hidden = squash(hidden @ w[6].T + w[7])
    torch.testing.assert_close(network(x), hidden @ w[8].T + w[9])


def test_mnist_cnn_is_what_its_equations_say() -> None:
    network = create_model("mnist_cnn").eval()
    w = list(network.parameters())
    x = torch.randn(2, 1, 28, 28)
    maps = F.max_pool2d(F.conv2d(x, w[0], w[1], padding=1).relu(), 2)
    maps = F.conv2d(F.conv2d(maps, w[2], w[3], padding=1).relu(), w[4], w[5], padding=1).relu()
    hidden = (maps.flatten(1) @ w[6].T + w[7]).relu()
    torch.testing.assert_close(network(x), hidden @ w[8].T + w[9])


def test_mnist_cnn_drops_a_quarter_before_the_dense_layer_and_half_after() -> None:
    assert [m.p for m in create_model("mnist_cnn").modules() if isinstance(m, nn.Dropout)] == [0.25, 0.5]


@pytest.mark.parametrize("hidden_sizes", [(), (5,), (7, 6, 5)])
def test_mlp_has_the_hidden_layers_asked_for(hidden_sizes: tuple[int, ...]) -> None:
    network = create_model("mlp", hidden_sizes=hidden_sizes, image_size=(4, 3))
    sizes = [12, *hidden_sizes, 10]
    assert [tuple(p.shape) for p in network.parameters() if p.ndim == 2] == list(zip(sizes[1:], sizes, strict=False))


def test_the_order_of_pixels_means_nothing_to_an_mlp() -> None:
    network = create_model("mlp", image_size=(4, 4)).eval()
    order = torch.randperm(16)
    x = torch.randn(3, 1, 4, 4)
    logits = network(x)
    first = next(network.parameters())
    first.data = first.data[:, order]
    torch.testing.assert_close(network(x.flatten(1)[:, order].view_as(x)), logits)
