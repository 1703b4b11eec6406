"""Networks that say a class for each pixel: on several backbones, at any size, whole and part by part."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parts import difference, tiled
from striate.blocks.network import Network
from striate.errors import UsageError
from striate.segmentation.deeplab import deeplabv3
from striate.segmentation.fcn import fcn8s, fcn16s, fcn32s
from striate.segmentation.segmenter import Segmenter, bilinear_kernel, enlarging
from striate.segmentation.unet import unet
from striate.zoo import create_model

BUILDERS: dict[str, Callable[..., Segmenter]] = {
    "fcn32s": fcn32s,
    "fcn16s": fcn16s,
    "fcn8s": fcn8s,
    "unet": unet,
    "deeplabv3": deeplabv3,
}
builders = pytest.mark.parametrize("name", BUILDERS)


def build(name: str, backbone: str = "mobilenet_v2", num_classes: int = 4) -> Segmenter:
    torch.manual_seed(0)
    options: dict[str, Any] = {"output_stride": 16} if name == "deeplabv3" else {}
    return BUILDERS[name](create_model(backbone, **options), num_classes=num_classes)


@builders
@pytest.mark.parametrize("size", [(64, 96), (37, 50), (33, 1)])
def test_says_a_class_for_each_pixel_of_images_of_any_size(name: str, size: tuple[int, int]) -> None:
    network = build(name).eval()
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits = network(image)
    assert logits.shape == (2, 4, *size)
    assert logits.isfinite().all()
    assert network.num_classes == 4
    network.reset_classifier(7)
    assert network.num_classes == 7
    with torch.no_grad():
        assert network(image).shape == (2, 7, *size)


@builders
@pytest.mark.parametrize("backbone", ["resnet18", "xception"])
def test_stands_on_any_backbone_with_such_maps(name: str, backbone: str) -> None:
    network = build(name, backbone).train()
    logits = network(torch.randn(2, 3, 96, 128))
    assert logits.shape == (2, 4, 96, 128)


def test_every_parameter_learns_but_what_comes_before_scores_that_begin_at_zero() -> None:
    for name in BUILDERS:
        network = build(name).train()
        torch.autograd.backward(F.cross_entropy(network(torch.randn(2, 3, 64, 64)), torch.randint(0, 4, (2, 64, 64))))
        idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        assert idle == []


def test_parameters_are_those_of_the_backbone_and_of_the_scores() -> None:
    backbone = create_model("mobilenet_v2")
    own = sum(p.numel() for p in backbone.features.parameters())
    found = sum(p.numel() for p in build("fcn8s", num_classes=11).parameters())
    scores = sum(11 * channels + 11 for channels in (1280, 96, 32))
    assert found == own + scores + 11 * 11 * (4 * 4 + 4 * 4 + 16 * 16)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_enlarging_begins_as_bilinear_interpolation(factor: int) -> None:
    maps = torch.randn(1, 3, 7, 9)
    made = enlarging(3, factor)(maps)
    assert made.shape == (1, 3, 7 * factor, 9 * factor)
    expected = F.interpolate(maps, scale_factor=factor, mode="bilinear")
    inner = (..., slice(factor, -factor), slice(factor, -factor))  # At the edge, zeros come in from outside.
    torch.testing.assert_close(made[inner], expected[inner], rtol=1e-5, atol=1e-6)
    assert float(bilinear_kernel(factor).sum()) == pytest.approx(factor**2)


def test_finer_scores_begin_at_zero() -> None:
    network = build("fcn8s").eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = network(image)
        for stride in ("16", "8"):
            layer = network.get_submodule(f"score.{stride}")
            assert isinstance(layer, nn.Conv2d)
            assert not layer.weight.any()
        coarse = network.get_submodule("score.32")(network.feature_maps(image)["top"])
        expected = coarse
        for factor in (2, 2, 8):
            expected = enlarging(4, factor)(expected)
    torch.testing.assert_close(before, expected)


@pytest.mark.parametrize(
    ("name", "backbone", "said"),
    [
        ("fcn32s", "squeezenet1_0", "a map of stride 32; received one with strides 2, 4, 8, 16"),
        ("fcn8s", "mlp", "received one with strides of none"),
    ],
)
def test_a_backbone_without_such_a_map_is_refused(name: str, backbone: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build(name, backbone)


@builders
def test_parts_are_the_whole_image(name: str) -> None:
    network = build(name).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    image = torch.randn(1, 3, 170, 139)
    with torch.inference_mode():
        expected = network(image)
    assert difference(tiled(network, image, 3, 2), expected) < 1e-4


def test_a_segmenter_is_a_network_of_the_house() -> None:
    assert issubclass(Segmenter, Network)
