"""One contract for every network: to be listed is to be tested."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.costing.layers import layer_costs
from striate.errors import StriateError, UsageError
from striate.zoo import ZOO, Entry, create_model, list_models

MODELS = Path(__file__).resolve().parents[1] / "src" / "striate" / "models"

entries = pytest.mark.parametrize("entry", ZOO.values(), ids=lambda entry: entry.name)
backbones = pytest.mark.parametrize(
    "entry", [entry for entry in ZOO.values() if entry.backbone], ids=lambda entry: entry.name
)


def build(entry: Entry, **options: Any) -> Any:
    torch.manual_seed(0)
    return create_model(entry.name, **options)


def images(entry: Entry, count: int = 2) -> torch.Tensor:
    return torch.randn(count, entry.in_chans, *entry.image_size, generator=torch.Generator().manual_seed(1))


@entries
def test_has_the_published_number_of_parameters(entry: Entry) -> None:
    with torch.device("meta"):
        network = build(entry)
    assert sum(p.numel() for p in network.parameters()) == entry.parameters
    assert all(p.is_meta for p in network.parameters())


@entries
def test_forward_gives_logits_in_training_and_evaluation(entry: Entry) -> None:
    network = build(entry)
    for mode in (True, False):
        assert network.train(mode)(images(entry)).shape == (2, entry.num_classes)


@entries
def test_one_training_step_changes_every_parameter_and_lowers_the_loss(entry: Entry) -> None:
    network, x, labels = build(entry).eval(), images(entry, 4), torch.tensor([0, 1, 2, 1])  # eval: no dropout.
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    loss = F.cross_entropy(network(x), labels)
    torch.autograd.backward(loss)
    torch.optim.SGD(network.parameters(), 0.01).step()
    assert F.cross_entropy(network(x), labels) < loss
    assert [name for name, p in network.named_parameters() if torch.equal(p, before[name])] == []


@entries
def test_takes_other_channels_classes_and_image_sizes(entry: Entry) -> None:
    height, width = entry.image_size
    size = (height + 8, width + 4)
    network = build(entry, num_classes=7, in_chans=5, image_size=size)
    assert network(torch.randn(2, 5, *size)).shape == (2, 7)


@entries
def test_reset_classifier_changes_the_last_layer_alone(entry: Entry) -> None:
    network = build(entry)
    before = network.state_dict()
    network.reset_classifier(3)
    after = network.state_dict()
    changed = {
        name for name in before if before[name].shape != after[name].shape or not before[name].equal(after[name])
    }
    assert len(changed) == 2  # a weight and a bias
    assert network.num_classes == 3
    assert network(images(entry)).shape == (2, 3)


@entries
def test_drop_rate_drops_in_training_only(entry: Entry) -> None:
    network = build(entry, drop_rate=0.9)
    x = images(entry)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@backbones
def test_feature_maps_are_as_announced(entry: Entry) -> None:
    network, x = build(entry).eval(), images(entry)
    maps = network.feature_maps(x)
    assert list(maps) == [info.name for info in network.feature_info]
    for info in network.feature_info:
        assert maps[info.name].shape[:2] == (2, info.channels)
    last = network.features(x)
    assert torch.equal(last, maps[network.feature_info[-1].name])


@backbones
def test_strides_are_as_announced(entry: Entry) -> None:
    """Moving the image by a map's stride moves the map by one, away from the edges."""
    stride = build(entry).feature_info[-1].stride
    size = (entry.image_size[0] + 8 * stride, entry.image_size[1] + 8 * stride)
    network = build(entry, image_size=size).eval()
    x = torch.randn(1, entry.in_chans, *size)
    moved = torch.roll(x, (stride, stride), (2, 3))
    for info in network.feature_info:
        steps = stride // info.stride
        here, there = network.feature_maps(x)[info.name], network.feature_maps(moved)[info.name]
        middle = slice(here.shape[-1] // 2 - 1, here.shape[-1] // 2 + 1)
        middle_moved = slice(middle.start + steps, middle.stop + steps)
        torch.testing.assert_close(there[:, :, middle_moved, middle_moved], here[:, :, middle, middle])
        assert not torch.allclose(there[:, :, middle, middle], here[:, :, middle, middle])


@entries
def test_shapes_in_comments_are_those_of_the_network(entry: Entry) -> None:
    written = re.findall(r"# (\d+(?: x \d+)*)$", (MODELS / f"{entry.module}.py").read_text(), re.MULTILINE)
    if not written:
        assert entry.name == "mlp", "a network's file says the shape after every stage"
        return
    first = next(e for e in ZOO.values() if e.module == entry.module)
    with torch.device("meta"):
        network = build(first)
    made = iter(layer_costs(network, (first.in_chans, *first.image_size)))
    for shape in written:
        sides = tuple(int(side) for side in shape.split(" x "))
        assert any(layer.output_shape == sides for layer in made), f"nothing gives {shape} there"


@entries
def test_images_of_another_size_are_refused_with_both_sizes(entry: Entry) -> None:
    network: nn.Module = build(entry)
    height, width = entry.image_size
    with pytest.raises(StriateError, match=f"{height}x{width} pixels.*received {height + 1}x{width}"):
        network(torch.zeros(1, entry.in_chans, height + 1, width))


def test_the_table_is_in_order() -> None:
    for name, entry in ZOO.items():
        assert name == entry.name
        assert entry.smaller is None or ZOO[entry.smaller].parameters < entry.parameters
    assert list_models() == sorted(ZOO)
    assert list_models("lenet*") == ["lenet5", "lenet5_28"]


def test_unknown_names_and_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="received 'lenet6'. Did you mean lenet5"):
        create_model("lenet6")
    with pytest.raises(UsageError, match="received 'drop_rat'. Did you mean drop_rate"):
        create_model("lenet5", drop_rat=0.5)
    with pytest.raises(UsageError, match="num_classes of 1 or more; received 0"):
        create_model("lenet5", num_classes=0)
    with pytest.raises(UsageError, match="at least 16x16 for LeNet-5; received 15x40"):
        create_model("lenet5", image_size=(15, 40))
    with pytest.raises(UsageError, match="hidden_sizes"):
        create_model("mlp", hidden_sizes=(10, 0))
