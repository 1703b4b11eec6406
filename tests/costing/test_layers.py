import math

import pytest
import torch
from torch import nn

import striate
from odd_networks import ODD
from striate.blocks.convolution import SameConv2d
from striate.costing.arithmetic import parameter_arithmetic
from striate.costing.layers import fold, layer_costs, layer_table
from striate.graph.programs import Inference, Training
from striate.graph.trace import trace


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


def test_layers_come_in_the_order_in_which_they_run_each_time_they_do() -> None:
    network = Odd()
    layers = layer_costs(network, (4, 6, 5))
    assert [(layer.name, layer.kind, layer.parameters) for layer in layers] == [
        ("shared", "Conv2d", 148),
        ("shared", "Conv2d", 0),
        ("body.1", "BatchNorm2d", 8),
        ("body.2", "ReLU", 0),
        ("", "mul", 4),
        ("unused", "Linear", 1_001_000),
    ]
    assert {layer.output_shape for layer in layers[:-1]} == {(4, 6, 5)}
    assert layers[-1].output_shape == ()
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())
    assert [layer.macs for layer in layers] == [3 * 3 * 4 * 4 * 30, 3 * 3 * 4 * 4 * 30, 120, 0, 120, 0]
    assert [layer.receptive_field for layer in layers[:2]] == [(3, 3), (5, 5)]


def test_what_runs_again_and_again_alike_is_told_once() -> None:
    class Parts(nn.Module):
        """Looks at an image in parts, each through the same layers."""

        def __init__(self, count: int) -> None:
            super().__init__()
            self.count, self.body = count, nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
            self.last = nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            parts = [self.body(x[:, :, 6 * place : 6 * place + 6]).mean((2, 3)) for place in range(self.count)]
            out: torch.Tensor = self.last(torch.stack(parts).sum(0))
            return out

    once, thrice = (layer_costs(Parts(count), (3, 18, 9)) for count in (1, 3))
    alike = {layer.name: layer for layer in once if layer.name}
    told = [layer for layer in thrice if layer.name]
    assert [layer.name for layer in told] == ["body.0", "body.1", "last"]
    for layer, times in zip(told, (3, 3, 1), strict=True):
        assert layer.parameters == alike[layer.name].parameters
        assert layer.macs == times * alike[layer.name].macs
        assert layer.activation_bytes == times * alike[layer.name].activation_bytes
        assert layer.column_bytes == alike[layer.name].column_bytes  # They come and go each time.
        assert layer.arithmetic.columns == alike[layer.name].arithmetic.columns
    assert told[0].arithmetic.macs == f"3 times {alike['body.0'].arithmetic.macs}"
    assert told[0].arithmetic.parameters == "(3·3·3 + 1)·5 = 140"


def test_functions_count_as_modules_do() -> None:
    class Functions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(6, 3, 5, 5))
            self.weight = nn.Parameter(torch.zeros(10, 6 * 4 * 4))
            self.bias = nn.Parameter(torch.zeros(10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = nn.functional.max_pool2d(nn.functional.conv2d(x, self.kernel).relu(), 2)
            return nn.functional.linear(maps.flatten(1), self.weight, self.bias)

    modules = nn.Sequential(
        nn.Conv2d(3, 6, 5, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 4 * 4, 10)
    )
    by_module = [layer for layer in layer_costs(modules, (3, 12, 12)) if layer.kind != "Flatten"]
    by_function = layer_costs(Functions(), (3, 12, 12))
    assert [layer.kind for layer in by_function] == ["convolution", "relu", "max_pool2d", "addmm"]
    for one, other in zip(by_module, by_function, strict=True):
        assert one.output_shape == other.output_shape
        assert (one.parameters, one.macs, one.activation_bytes) == (
            other.parameters,
            other.macs,
            other.activation_bytes,
        )
        assert one.receptive_field == other.receptive_field
    assert by_function[-1].arithmetic.parameters == "10·96 + 10 = 970"


def test_a_branch_that_does_not_run_is_not_there() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = (self.wide if x.shape[2] > 8 else self.narrow)(x)
            return made

    assert [(layer.name, layer.macs > 0) for layer in layer_costs(Either(), (3, 9, 9))] == [
        ("wide", True),
        ("narrow", False),
    ]


def test_the_arithmetic_of_a_convolution_is_the_lectures() -> None:
    """5x5, from 3 to 200 maps of 150x100, as exercises have it."""
    (layer,) = layer_costs(nn.Conv2d(3, 200, 5, padding=2), (3, 150, 100))
    assert (layer.parameters, layer.macs, layer.activation_bytes) == (15_200, 225_000_000, 12_000_000)
    assert layer.arithmetic.parameters == "(5·5·3 + 1)·200 = 15,200"
    assert layer.arithmetic.macs == "5·5·3·200·150·100 = 225,000,000"
    assert layer.arithmetic.activation == "200·150·100·4 = 12,000,000"
    assert layer.arithmetic.output == ""
    assert "675,000,000 weights for one map, 135,000,000,000 for all 200" in layer.arithmetic.dense
    graph = trace(Inference(nn.Conv2d(3, 200, 5, padding=2), [torch.empty(100, 3, 150, 100, device="meta")]))
    assert graph.tensors[graph.operators[0].outputs[0]].size == 1_200_000_000


def test_columns_of_vgg16_are_those_of_the_arithmetic() -> None:
    """The second convolution has a window of 3 x 3 on 64 maps at each of 224 x 224 places, 4 bytes each."""
    with torch.device("meta"):
        network = striate.create_model("vgg16")
    _, _, second, *others = layer_costs(network, (3, 224, 224))
    assert second.column_bytes == 64 * 9 * 224 * 224 * 4 == 115_605_504
    assert second.arithmetic.columns == "3·3·64·224·224·4 = 115,605,504"
    assert "115,605,504 bytes as columns" in str(second.arithmetic)
    assert {layer.kind for layer in others if layer.column_bytes} == {"Conv2d"}


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, (5, 3), 2, (2, 1), bias=False),
        nn.Conv2d(4, 6, 3, dilation=2, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 6, 1),
        nn.Conv2d(4, 6, 3).to(torch.bfloat16),
    ],
    ids=str,
)
def test_columns_are_as_many_as_torch_unfolds(convolution: nn.Conv2d) -> None:
    """Of one image, and of the maps that one group sees, whatever the batch."""
    settings = [getattr(convolution, name) for name in ("kernel_size", "dilation", "padding", "stride")]
    images = torch.zeros(2, 4, 11, 9, dtype=convolution.weight.dtype)
    (layer,) = layer_table(convolution, trace(Inference(convolution, [images])))
    one_group = images[:1, : 4 // convolution.groups]
    assert layer.column_bytes == nn.functional.unfold(one_group, *settings).nbytes


def test_columns_of_a_transposed_convolution_are_what_its_product_gives() -> None:
    network = nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2)
    (layer,) = layer_costs(network, (6, 5, 7))
    maps, kernels = torch.zeros(3, 5 * 7), network.weight[:3].flatten(1)
    assert layer.column_bytes == (kernels.T @ maps).nbytes == 9 * 2 * 5 * 7 * 4


def test_columns_of_several_convolutions_in_one_layer_are_those_of_the_largest() -> None:
    class Twice(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(super().forward(x))

    (layer,) = layer_costs(nn.Sequential(Twice(4, 4, 3)), (4, 9, 8))
    assert layer.column_bytes == nn.functional.unfold(torch.zeros(1, 4, 9, 8), 3).nbytes
    assert layer.arithmetic.columns == "3·3·4·7·6·4 = 6,048"


@pytest.mark.parametrize(
    ("network", "size", "output"),
    [
        (nn.Sequential(*[nn.Conv2d(3, 3, 3, 2, 1) for _ in range(3)]), (200, 300), "⌈200/8⌉ = 25, ⌈300/8⌉ = 38"),
        (nn.Conv2d(3, 3, 5), (28, 28), "28 - 5 + 1 = 24"),
        (nn.Conv2d(3, 3, 5), (28, 30), "28 - 5 + 1 = 24, 30 - 5 + 1 = 26"),
        (nn.Conv2d(3, 3, 11, 4, 2), (224, 224), "⌊(224 + 2 + 2 - 11)/4⌋ + 1 = 55"),
        (nn.Conv2d(3, 3, 3, dilation=2), (28, 28), "28 - 5 + 1 = 24"),
        (nn.MaxPool2d(3, 2, ceil_mode=True), (10, 10), "⌈10/2⌉ = 5"),
        (nn.MaxPool2d(4, 3, ceil_mode=True), (12, 12), "⌈12/3⌉ = 4"),
        (nn.MaxPool2d(5, 2, ceil_mode=True), (12, 12), "⌈(12 - 5)/2⌉ + 1 = 5"),
        (nn.Sequential(nn.Conv2d(3, 3, 5), nn.MaxPool2d(2)), (29, 29), "⌊(25 - 2)/2⌋ + 1 = 12"),
        (nn.ConvTranspose2d(3, 3, 3, 2, 1, output_padding=1), (7, 7), "(7 - 1)·2 - 1 - 1 + 3 + 1 = 14"),
        (nn.Sequential(SameConv2d(3, 3, 3, 2)), (9, 10), "⌈9/2⌉ = 5, ⌈10/2⌉ = 5"),
    ],
    ids=str,
)
def test_the_arithmetic_of_sizes_is_true(network: nn.Module, size: tuple[int, int], output: str) -> None:
    text = layer_costs(network, (3, *size))[-1].arithmetic.output
    assert text == output
    for equation in text.split(", "):
        left, right = equation.split(" = ")
        python = left.replace("·", "*").replace("⌈", "ceil(").replace("⌊", "floor(").replace("⌉", ")").replace("⌋", ")")
        assert eval(python, {"ceil": math.ceil, "floor": math.floor}) == int(right)
    assert network(torch.zeros(1, 3, *size)).shape[2] == int(text.split(", ")[0].split(" = ")[1])


@pytest.mark.parametrize("name", ["lenet5", "googlenet", "resnet50", "xception", "seresnet18", "mobilenet_v2"])
def test_every_equation_of_a_network_is_true(name: str) -> None:
    with torch.device("meta"):
        network = striate.create_model(name)
    layers = layer_costs(network, (1, 32, 32) if name == "lenet5" else (3, 224, 224))
    for layer in layers:
        for text, number in (
            (layer.arithmetic.parameters, layer.parameters),
            (layer.arithmetic.macs, layer.macs),
            (layer.arithmetic.activation, layer.activation_bytes),
            (layer.arithmetic.columns, layer.column_bytes),
        ):
            if text:
                left, right = text.split(" = ")
                assert eval(left.replace("·", "*")) == int(right.replace(",", "")) == number
            else:
                assert number == 0
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())


def test_modules_fold_at_a_depth() -> None:
    with torch.device("meta"):
        network = striate.create_model("resnet18")
    graph = trace(Inference(network, [torch.empty(1, 3, 224, 224, device="meta")]))
    layers = layer_table(network, graph)
    folded = fold(layers, 2, {call.layer: call.kind for call in graph.calls})
    assert [layer.name for layer in folded][:4] == [
        "features.stem",
        "features.pool",
        "features.stage1",
        "features.stage2",
    ]
    assert folded[2].kind == "Sequential"
    assert folded[2].output_shape == (64, 56, 56)
    for what in ("parameters", "macs", "activation_bytes"):
        assert sum(getattr(layer, what) for layer in folded) == sum(getattr(layer, what) for layer in layers)
    # Columns come and go with each convolution; the largest of the stage's, by hand: 3·3·64 values at 56·56 places.
    assert folded[2].column_bytes == 3 * 3 * 64 * 56 * 56 * 4
    assert max(layer.column_bytes for layer in folded) == max(layer.column_bytes for layer in layers)
    assert fold(layers, 99, {}) == layers


@pytest.mark.parametrize("name", ODD)
def test_odd_networks_have_tables_at_prediction_and_in_training(name: str) -> None:
    build, shapes = ODD[name]
    network = build()
    inputs = []
    for shape in shapes:
        sides, _, dtype = shape.partition(":")
        inputs.append(torch.zeros(2, *map(int, sides.split("x")), dtype=torch.int64 if dtype else None))
    total = sum(p.numel() for p in network.parameters())
    for program in (Inference(network, inputs), Training(network, inputs, [], lambda out: out.mean())):
        layers = layer_table(network, trace(program))
        assert sum(layer.parameters for layer in layers) == total
        assert sum(layer.macs for layer in layers) > 0
        assert (sum(layer.backward_macs for layer in layers) > 0) is isinstance(program, Training)


def test_the_backward_pass_is_each_layers_own() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(64, 5))
    images = torch.empty(2, 3, 8, 8, device="meta")
    graph = trace(Training(network, [images], [], lambda out: out.sum()))
    layers = layer_table(network, graph)
    # The images want no gradient; everything else takes as much for what came in as for the weights.
    assert [layer.backward_macs for layer in layers] == [
        layers[0].macs,
        0,
        2 * layers[2].macs,
        0,
        2 * layers[4].macs,
    ]
    assert layers[2].macs == 2 * 4 * 3 * 3 * 4 * 4


def test_other_outputs_and_other_dtypes_are_counted_too() -> None:
    network = nn.Sequential(nn.Flatten(2), nn.LSTM(6, 5, batch_first=True)).to(torch.bfloat16)
    flatten, lstm = layer_costs(network, (4, 2, 3))
    assert (flatten.output_shape, lstm.output_shape) == ((4, 6), (4, 5))
    assert lstm.activation_bytes == 2 * 4 * 5
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
