"""Networks that say a class for each pixel: on several backbones, at any size, whole and part by part."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parts import difference, tiled
from striate.blocks.normalisation import FrozenBatchNorm2d
from striate.errors import UsageError
from striate.files import save_tensors
from striate.segmentation.deeplab import deeplabv3
from striate.segmentation.fcn import fcn8s, fcn16s, fcn32s
from striate.segmentation.segmenter import Segmenter, bilinear_kernel, upsampling
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


def test_parameters_of_a_unet_and_a_deeplab_are_those_of_their_tables() -> None:
    own = sum(p.numel() for p in create_model("mobilenet_v2").features.parameters())

    def convolved(before: int, after: int, kernel: int) -> int:
        return kernel**2 * before * after + 2 * after  # With batch norm.

    levels = ((1280, 96, 256), (256, 32, 128), (128, 24, 64), (64, 16, 32), (32, 0, 16))
    up = sum(
        4 * below * width + width + convolved(width + beside, width, 3) + convolved(width, width, 3)
        for below, beside, width in levels
    )
    assert sum(p.numel() for p in build("unet").parameters()) == own + up + 4 * 16 + 4
    branches = convolved(1280, 256, 1) + 3 * convolved(1280, 256, 3) + 1280 * 256 + 256
    pyramid = branches + convolved(5 * 256, 256, 1)
    assert sum(p.numel() for p in build("deeplabv3").parameters()) == own + pyramid + 4 * 256 + 4


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsampling_begins_as_bilinear_interpolation(factor: int) -> None:
    maps = torch.randn(1, 3, 7, 9)
    made = upsampling(3, factor)(maps)
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
            expected = upsampling(4, factor)(expected)
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


def test_fcn_begins_again_for_other_classes_as_it_began(tmp_path: Path) -> None:
    network = build("fcn8s", num_classes=3)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    save_tensors(tmp_path / "fcn.safetensors", network.state_dict())
    with pytest.warns(UserWarning, match=r"all is taken from it but score.32, score.16, score.8, enlarge.0"):
        other = create_model("fcn8s", num_classes=5, pretrained=tmp_path / "fcn.safetensors")
    assert torch.equal(other.get_parameter("features.0.conv.weight"), network.get_parameter("features.0.conv.weight"))
    network.reset_classifier(5)
    for made in (other, network):
        assert not made.get_parameter("score.8.weight").any()
        assert made.get_parameter("score.32.weight").any()
        assert torch.equal(made.get_parameter("enlarge.2.weight"), upsampling(5, 8).weight)


def test_its_own_weights_are_told_from_those_of_its_backbone(tmp_path: Path) -> None:
    network = build("unet")
    save_tensors(tmp_path / "unet.safetensors", network.state_dict())
    again = create_model("unet", num_classes=4, pretrained=tmp_path / "unet.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


def test_frozen_norms_are_the_backbones() -> None:
    network = create_model("unet", num_classes=4, frozen_norm=True)
    frozen = [name for name, module in network.named_modules() if isinstance(module, FrozenBatchNorm2d)]
    normed = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert {name.partition(".")[0] for name in frozen} == {"features"}
    assert {name.partition(".")[0] for name in normed} == {"levels"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"drop_rate": 0.5}, "'drop_rate', of the head that fcn8s has not"),
        ({"backbone": "googlenet", "aux_heads": True}, "'aux_heads', of the head"),
    ],
)
def test_options_of_a_head_that_is_not_there_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        create_model("fcn8s", **options)
    with pytest.raises(UsageError, match="a backbone of deeplabv3 that takes output_stride; received vgg16"):
        create_model("deeplabv3", backbone="vgg16")
