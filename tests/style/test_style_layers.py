"""Which maps are taken of which network."""

import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.style.layers import Layers, choose_layers, map_shapes, row_of
from striate.style.losses import gram
from striate.style.painting import Looking
from striate.zoo import create_model


def layers_of(model: str) -> Layers:
    with torch.device("meta"):
        return choose_layers(row_of(create_model(model).features))


def test_of_vgg19_those_of_the_paper_are_taken() -> None:
    """By torchvision's numbers, relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1, and relu4_2."""
    found = layers_of("vgg19")
    assert found.style == ("1", "6", "11", "20", "29")
    assert found.content == "22"
    assert found.held_out == ("3", "8", "17", "26", "35")


@pytest.mark.parametrize("model", ["vgg16_bn", "squeezenet1_0", "mobilenet_v2", "resnet18", "googlenet", "xception"])
def test_of_others_maps_of_several_strides_are_taken_and_others_held_out(model: str) -> None:
    found = layers_of(model)
    assert len(found.style) >= 4
    assert found.held_out
    assert not {found.content, *found.style} & {*found.held_out}


def test_of_squeezenet_the_blocks_are() -> None:
    assert layers_of("squeezenet1_0") == Layers("8", ("1", "3", "7", "12"), ("5", "10"))


def test_a_network_with_one_map_of_each_stride_is_refused() -> None:
    features = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU())
    with pytest.raises(UsageError, match="several maps of one stride"):
        choose_layers(row_of(features))


def test_shapes_are_those_that_come_out_and_too_small_an_image_is_refused() -> None:
    torch.manual_seed(0)
    features = create_model("squeezenet1_0").features.eval()
    shapes = map_shapes(row_of(features), (40, 56))
    found = Looking(row_of(features), list(shapes))(torch.rand(1, 3, 40, 56))
    assert [tuple(maps.shape) for maps in found] == list(shapes.values())
    with pytest.raises(RuntimeError):
        map_shapes(row_of(features), (3, 56))


@pytest.mark.parametrize("model", ["squeezenet1_0", "mobilenet_v2", "resnet18"])
def test_maps_are_what_the_layers_gave_whatever_runs_behind_them(model: str) -> None:
    """Activations change in place what comes in."""
    torch.manual_seed(0)
    row = row_of(create_model(model).features.eval())
    found = choose_layers(row)
    names, image = [found.content, *found.style, *found.held_out], torch.rand(1, 3, 64, 64)
    together, copies = Looking(row, names)(image), Looking(row, names, torch.clone)(image)
    assert all(map(torch.equal, together, copies))
    (alone,) = Looking(row, [found.content], gram)(image)
    assert torch.equal(alone, gram(together[0]))


def test_a_network_that_looks_learns_nothing() -> None:
    with torch.device("meta"):
        looking = Looking(row_of(create_model("resnet18").features), ["stem.0"])
    looking.train()
    assert not any(module.training for module in looking.modules())
    assert not any(parameter.requires_grad for parameter in looking.parameters())
