import pytest
import torch
from torch import nn

from striate.costing.arithmetic import parameter_arithmetic
from striate.costing.layers import layer_costs


@pytest.mark.parametrize(
    ("module", "arithmetic"),
    [
        (nn.Conv2d(1, 6, 5), "(5·5·1 + 1)·6"),
        (nn.Conv2d(8, 6, (3, 1), bias=False), "3·1·8·6"),
        (nn.Conv2d(8, 6, 3, groups=2), "(3·3·8/2 + 1)·6"),
        (nn.Conv1d(4, 6, 3), "(3·4 + 1)·6"),
        (nn.ConvTranspose2d(8, 6, 2, groups=2), "2·2·8·6/2 + 6"),
        (nn.Linear(400, 120), "(400 + 1)·120"),
        (nn.Linear(400, 120, bias=False), "400·120"),
        (nn.BatchNorm2d(64), "2·64"),
        (nn.PReLU(), "1"),
        (nn.LSTMCell(3, 5), "20·3 + 20·5 + 20 + 20"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_arithmetic_gives_the_number(module: nn.Module, arithmetic: str) -> None:
    assert parameter_arithmetic(module) == arithmetic
    value = eval(arithmetic.replace("·", "*"))
    assert value == sum(p.numel() for p in module.parameters())


class Odd(nn.Module):
    """Shares one layer between two places, keeps a parameter of its own, and has a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.unused = nn.Linear(1000, 1000)
        self.body = nn.Sequential(nn.Identity(), nn.BatchNorm2d(4), nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.scale * self.body(self.shared(self.shared(x)))
        return out


def test_layers_come_in_the_order_in_which_they_run_each_once() -> None:
    network = Odd()
    layers = layer_costs(network, (4, 6, 5))
    assert [(layer.name, layer.parameters) for layer in layers] == [
        ("shared", 148),
        ("body.1", 8),
        ("body.2", 0),
        ("", 4),
        ("unused", 1_001_000),
    ]
    assert {layer.output_shape for layer in layers[:-1]} == {(4, 6, 5)}
    assert layers[-1].output_shape == ()
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())


def test_other_outputs_and_other_dtypes_are_counted_too() -> None:
    network = nn.Sequential(nn.Flatten(2), nn.LSTM(6, 5, batch_first=True)).to(torch.bfloat16)
    flatten, lstm = layer_costs(network, (4, 2, 3))
    assert (flatten.output_shape, lstm.output_shape) == ((4, 6), (4, 5))
    assert lstm.parameters == 4 * 5 * (6 + 5 + 2)


def test_the_network_is_left_as_it_was() -> None:
    network = Odd().train()
    network.body.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    layer_costs(network, (4, 6, 5))
    assert network.training
    assert not network.body[1].training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_no_memory_is_taken_for_a_network_that_would_not_fit() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(150_000 * 3, 1_000_000))
    (flatten, dense) = layer_costs(network, (3, 300, 500))
    assert (flatten.output_shape, dense.parameters) == ((450_000,), 450_001_000_000)
