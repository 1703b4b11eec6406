"""What the papers say of the deeper networks, and what their tables add up to by hand."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.excitation import SqueezeExcitation
from striate.blocks.residual import Residual
from striate.costing.layers import layer_costs
from striate.zoo import create_model


def table(name: str, **options: Any) -> list[int]:
    """Return the parameters of each layer that has any, in the order of the run."""
    with torch.device("meta"):
        network = create_model(name, **options)
    size = network.image_size or (224, 224)
    channels = 1 if name == "alexnet_28" else 3
    return [layer.parameters for layer in layer_costs(network, (channels, *size)) if layer.parameters]


def test_alexnet_has_two_groups_and_the_papers_widths() -> None:
    """Krizhevsky et al. 2012, section 3.5: 96 kernels of 11x11x3, 256 of 5x5x48, 384 of 3x3x256, and so on."""
    assert table("alexnet") == [
        96 * (11 * 11 * 3 + 1),
        256 * (5 * 5 * 48 + 1),
        384 * (3 * 3 * 256 + 1),
        384 * (3 * 3 * 192 + 1),
        256 * (3 * 3 * 192 + 1),
        4096 * (6 * 6 * 256 + 1),
        4096 * (4096 + 1),
        1000 * (4096 + 1),
    ]


def test_alexnet_is_what_its_equations_say() -> None:
    torch.manual_seed(0)
    network = create_model("alexnet", num_classes=7, image_size=80).eval()
    for p in network.parameters():  # Of a size at which normalization matters.
        nn.init.normal_(p, std=(2 / p[0].numel()) ** 0.5 if p.ndim > 1 else 0.1)
    w, x = list(network.parameters()), torch.randn(2, 3, 80, 80)

    def norm(a: Tensor) -> Tensor:
        squares = F.pad(a**2, (0, 0, 0, 0, 2, 2))
        return a / (2 + 1e-4 * sum(squares[:, i : i + a.shape[1]] for i in range(5))) ** 0.75

    def conv(a: Tensor, layer: int, groups: int, **options: int) -> Tensor:
        parts = zip(a.chunk(groups, 1), w[layer].chunk(groups), w[layer + 1].chunk(groups), strict=True)
        return torch.cat([F.conv2d(*part, **options) for part in parts], 1).clamp(min=0)  # type: ignore[call-overload]

    a = F.max_pool2d(norm(conv(x, 0, 1, stride=4, padding=2)), 3, 2)
    a = F.max_pool2d(norm(conv(a, 2, 2, padding=2)), 3, 2)
    a = conv(conv(conv(a, 4, 1, padding=1), 6, 2, padding=1), 8, 2, padding=1)
    a = F.max_pool2d(a, 3, 2).flatten(1)
    a = (a @ w[10].T + w[11]).clamp(min=0)
    a = (a @ w[12].T + w[13]).clamp(min=0)
    torch.testing.assert_close(network(x), a @ w[14].T + w[15])


def test_alexnet_begins_as_the_paper_says() -> None:
    network = create_model("alexnet", num_classes=10, image_size=63)
    biases = [p.mean().item() for name, p in network.named_parameters() if name.endswith("bias")]
    assert biases == [0, 1, 0, 1, 1, 1, 1, 0]  # second, fourth and fifth convolution, hidden dense layers (section 5)
    assert network.get_parameter("classifier.fc7.weight").std().item() == pytest.approx(0.01, rel=0.01)


def test_alexnet_28_is_what_its_equations_say() -> None:
    torch.manual_seed(0)
    network, x = create_model("alexnet_28").eval(), 5 * torch.randn(2, 1, 28, 28)
    w, a = list(network.parameters()), x
    for layer, size in ((0, 14), (2, 7), (4, 4)):
        a = F.max_pool2d(F.conv2d(a, w[layer], w[layer + 1], padding=1).clamp(min=0), 2, ceil_mode=True)
        assert a.shape[-1] == size
        squares = F.pad(a**2, (0, 0, 0, 0, 4, 4))
        a = a / (1 + 0.001 / 9 * sum(squares[:, i : i + a.shape[1]] for i in range(9))) ** 0.75
    a = (a.flatten(1) @ w[6].T + w[7]).clamp(min=0)
    a = (a @ w[8].T + w[9]).clamp(min=0)
    torch.testing.assert_close(network(x), a @ w[10].T + w[11])


@pytest.mark.parametrize(
    ("name", "millions", "convolutions"),
    [("vgg11", 133, 8), ("vgg13", 133, 10), ("vgg16", 138, 13), ("vgg19", 144, 16)],
)
def test_vgg_has_the_papers_table_2(name: str, millions: int, convolutions: int) -> None:
    """Simonyan and Zisserman 2015, table 2: 133, 133, 138 and 144 million parameters."""
    parameters = table(name)
    assert round(sum(parameters) / 1e6) == millions
    assert len(parameters) == convolutions + 3
    assert parameters[-3:] == [(7 * 7 * 512 + 1) * 4096, (4096 + 1) * 4096, (4096 + 1) * 1000]


def test_vggs_dense_layers_hold_most_of_it() -> None:
    assert sum(table("vgg16")[-3:]) == 123_642_856


# Szegedy et al. 2015, table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool; maps that come in.
INCEPTION = OrderedDict(
    a3=(192, 64, 96, 128, 16, 32, 32),
    b3=(256, 128, 128, 192, 32, 96, 64),
    a4=(480, 192, 96, 208, 16, 48, 64),
    b4=(512, 160, 112, 224, 24, 64, 64),
    c4=(512, 128, 128, 256, 24, 64, 64),
    d4=(512, 112, 144, 288, 32, 64, 64),
    e4=(528, 256, 160, 320, 32, 128, 128),
    a5=(832, 256, 160, 320, 32, 128, 128),
    b5=(832, 384, 192, 384, 48, 128, 128),
)


def inception_parameters(maps: int, one: int, three_: int, three: int, five_: int, five: int, pool: int) -> int:
    def conv(kernel: int, before: int, after: int) -> int:
        return (kernel * kernel * before + 1) * after

    return (
        conv(1, maps, one)
        + conv(1, maps, three_)
        + conv(3, three_, three)
        + conv(1, maps, five_)
        + conv(5, five_, five)
        + conv(1, maps, pool)
    )


def test_googlenet_adds_up_to_the_papers_table() -> None:
    stem = (49 * 3 + 1) * 64 + (64 + 1) * 64 + (9 * 64 + 1) * 192
    blocks = sum(inception_parameters(*row) for row in INCEPTION.values())
    assert sum(table("googlenet")) == stem + blocks + (1024 + 1) * 1000
    head = [(maps + 1) * 128 + (4 * 4 * 128 + 1) * 1024 + (1024 + 1) * 1000 for maps in (512, 528)]
    assert sum(table("googlenet", aux_heads=True)) == stem + blocks + (1024 + 1) * 1000 + sum(head)


def test_se_googlenet_adds_two_small_layers_to_each_block() -> None:
    added = 0
    for _, one, _, three, _, five, pool in INCEPTION.values():
        maps = one + three + five + pool
        hidden = maps // 16
        added += (maps + 1) * hidden + (hidden + 1) * maps
    assert sum(table("se_googlenet")) - sum(table("googlenet")) == added


def inception(x: Tensor, w: list[Tensor]) -> Tensor:
    """The paper's figure 2b, with the weights and biases of its six convolutions in the order of the table."""

    def conv(a: Tensor, layer: int, padding: int = 0) -> Tensor:
        return F.conv2d(a, w[2 * layer], w[2 * layer + 1], padding=padding).clamp(min=0)

    pooled = F.max_pool2d(x, 3, 1, padding=1)
    return torch.cat([conv(x, 0), conv(conv(x, 1), 2, 1), conv(conv(x, 3), 4, 2), conv(pooled, 5)], 1)


def local_response_norm(a: Tensor, maps: int, alpha: float) -> Tensor:
    squares = F.pad(a**2, (0, 0, 0, 0, maps // 2, maps // 2))
    return a / (1 + alpha * sum(squares[:, i : i + a.shape[1]] for i in range(maps))) ** 0.75


@pytest.mark.parametrize("name", ["googlenet", "se_googlenet"])
def test_googlenet_is_what_its_equations_say(name: str) -> None:
    torch.manual_seed(0)
    network = create_model(name, num_classes=7).eval().double()
    parameters = dict(network.named_parameters())

    def weights(prefix: str) -> list[Tensor]:
        return [p for name, p in parameters.items() if name.startswith(prefix) and "excite" not in name]

    def pool(a: Tensor) -> Tensor:
        return F.max_pool2d(a, 3, 2, ceil_mode=True)

    x = 40 * torch.randn(2, 3, 64, 64, dtype=torch.float64)  # Of a size at which normalization matters.
    w = weights("features.conv")
    a = local_response_norm(pool(F.conv2d(x, w[0], w[1], 2, padding=3).clamp(min=0)), 5, 2e-5)
    a = F.conv2d(F.conv2d(a, w[2], w[3]).clamp(min=0), w[4], w[5], padding=1).clamp(min=0)
    a = pool(local_response_norm(a, 5, 2e-5))
    for row in INCEPTION:
        if row in ("a4", "a5"):
            a = pool(a)
        block = f"features.inception{row[1]}{row[0]}"
        a = inception(a, weights(f"{block}."))
        if name == "se_googlenet":
            first, first_bias, second, second_bias = (
                parameters[f"{block}.excite.{layer}.{part}"] for layer in ("fc1", "fc2") for part in ("weight", "bias")
            )
            hidden = (a.mean((2, 3)) @ first[:, :, 0, 0].T + first_bias).clamp(min=0)
            a = a * torch.sigmoid(hidden @ second[:, :, 0, 0].T + second_bias)[:, :, None, None]
    w = weights("classifier.")
    torch.testing.assert_close(network(x), a.mean((2, 3)) @ w[0].T + w[1])


def test_googlenet_averages_five_by_five_places_every_third_for_its_heads() -> None:
    network: Any = create_model("googlenet", num_classes=5, image_size=224, aux_heads=True).eval()
    maps = torch.randn(1, 512, 14, 14)
    torch.testing.assert_close(network.aux1.pool(maps), F.avg_pool2d(maps, 5, 3))
    assert network.aux1(maps).shape == (1, 5)
    assert [module.p for module in network.aux1 if isinstance(module, nn.Dropout)] == [0.7]


@pytest.mark.parametrize(
    ("name", "layers"), [("resnet18", 18), ("resnet34", 34), ("resnet50", 50), ("resnet101", 101), ("resnet152", 152)]
)
def test_resnets_have_as_many_layers_as_their_names_say(name: str, layers: int) -> None:
    """Convolutions and dense layers, projections not counted (He et al. 2016, table 1)."""
    with torch.device("meta"):
        network = create_model(name)
    weighted = [n for n, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len([n for n in weighted if "shortcut" not in n]) == layers


@pytest.mark.parametrize(("plain", "residual"), [("plain18", "resnet18"), ("plain34", "resnet34")])
def test_plain_networks_are_residual_ones_without_their_shortcuts(plain: str, residual: str) -> None:
    projections = sum((before * after) + 2 * after for before, after in ((64, 128), (128, 256), (256, 512)))
    assert sum(table(residual)) - sum(table(plain)) == projections
    torch.manual_seed(0)
    without, with_shortcuts = create_model(plain, num_classes=5).eval(), create_model(residual, num_classes=5).eval()
    for module in with_shortcuts.modules():
        if isinstance(module, Residual):
            module.shortcut = None
    without.load_state_dict(with_shortcuts.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(without(x), with_shortcuts(x))


def test_senets_have_one_excitation_a_block() -> None:
    for name, blocks in (("seresnet18", 8), ("seresnet50", 16), ("seresnet152", 50), ("senet154", 50)):
        with torch.device("meta"):
            network = create_model(name)
        assert sum(isinstance(module, SqueezeExcitation) for module in network.modules()) == blocks
    assert sum(table("seresnet18")) - sum(table("resnet18")) == 2 * sum(
        (c + 1) * (c // 16) + (c // 16 + 1) * c for c in (64, 128, 256, 512)
    )


def test_xception_has_36_convolutions_in_14_modules() -> None:
    """Chollet 2017, section 3: 36 convolutional layers in 14 modules, all but the first and last with shortcuts."""
    with torch.device("meta"):
        network = create_model("xception")
    spatial = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(spatial) == 36
    assert sum(isinstance(module, Residual) for module in network.modules()) == 12


def test_mobilenet_has_ten_shortcuts_and_linear_ends() -> None:
    """Sandler et al. 2018, table 2: a shortcut around each repetition but the first of each row."""
    torch.manual_seed(0)
    network = create_model("mobilenet_v2", num_classes=5).eval()
    blocks = [module for module in network.features if isinstance(module, Residual)]
    assert len(blocks) == 17
    around = [block for block in blocks if block.shortcut is not None]
    assert len(around) == sum(repetitions - 1 for repetitions in (1, 2, 3, 4, 3, 3, 1)) == 10
    for block in blocks:
        maps = next(p for name, p in block.named_parameters() if name.endswith("conv.weight"))
        channels = maps.shape[1] if "path.expand.conv.weight" in dict(block.named_parameters()) else maps.shape[0]
        x = torch.randn(1, channels, 8, 8)
        expected = block.path(x) + (x if block in around else 0)
        torch.testing.assert_close(block(x), expected)
        assert bool((expected < 0).any())


def test_same_padding_is_the_usual_one_where_all_maps_have_odd_sides() -> None:
    torch.manual_seed(0)
    usual = create_model("mobilenet_v2", num_classes=5).eval()
    same = create_model("mobilenet_v2", num_classes=5, padding="same").eval()
    same.load_state_dict(usual.state_dict())
    odd, even = torch.randn(1, 3, 65, 65), torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(same(odd), usual(odd))
    assert not torch.allclose(same(even), usual(even), rtol=1e-2)


def test_xceptions_paths_begin_with_an_activation_but_for_the_first() -> None:
    network = create_model("xception", num_classes=5).eval()
    for number in range(1, 13):
        block = network.features.get_submodule(f"block{number}")
        assert isinstance(block, Residual)
        assert isinstance(block.shortcut, nn.Module)
        channels = {1: 64, 2: 128, 3: 256}.get(number, 728)
        x = torch.randn(1, channels, 9, 9)
        path = block(x) - block.shortcut(x)
        activated = block(x.clamp(min=0)) - block.shortcut(x.clamp(min=0))
        alike = torch.allclose(path, activated, rtol=1e-3, atol=1e-3 * float(path.detach().abs().max()))
        assert alike is (number > 1)


def test_alexnets_dropout_is_behind_its_hidden_layers() -> None:
    with torch.device("meta"):
        kinds = [type(layer).__name__ for layer in create_model("alexnet").get_submodule("classifier").children()]
    assert kinds == ["Flatten", *(["Linear", "ReLU", "Dropout"] * 2), "Linear"]


def test_dropout_is_the_papers() -> None:
    rates = {}
    for name in ("alexnet", "vgg16", "googlenet", "googlenet_bn", "resnet50", "senet154", "xception", "mobilenet_v2"):
        with torch.device("meta"):
            network = create_model(name)
        rates[name] = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    assert rates == {
        "alexnet": [0.5, 0.5],
        "vgg16": [0.5, 0.5],
        "googlenet": [0.4],
        "googlenet_bn": [0.2],
        "resnet50": [0.0],
        "senet154": [0.2],
        "xception": [0.5],
        "mobilenet_v2": [0.2],
    }
