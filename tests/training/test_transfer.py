import pytest
import torch
from torch import nn

from striate.training.transfer import freeze_body, hold_statistics, rate_scales
from striate.zoo import create_model


def test_rates_fall_from_child_to_child_towards_the_images() -> None:
    network = create_model("mnist_cnn", num_classes=10)
    scales = {
        name: rate_scales(network, network.output_layers(), 0.5)[parameter]
        for name, parameter in network.named_parameters()
    }
    children = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in scales))
    assert network.output_layers() == [children[-1]]
    for name, scale in scales.items():
        assert scale == 0.5 ** (len(children) - 1 - children.index(".".join(name.split(".")[:2])))


def test_auxiliary_heads_learn_as_fast_as_the_head() -> None:
    with torch.device("meta"):
        network = create_model("googlenet", num_classes=10, aux_heads=True)
    scales = rate_scales(network, network.output_layers(), 0.9)
    assert {scales[p] for n, p in network.named_parameters() if n.startswith(("aux", "classifier"))} == {1.0}
    assert min(scales.values()) == pytest.approx(0.9 ** sum(1 for _ in parameterised(network.features)))


def parameterised(features: nn.Module) -> list[nn.Module]:
    return [child for child in features.children() if any(True for _ in child.parameters())]


def test_a_frozen_body_keeps_its_weights_and_statistics() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    freeze_body(network, ["3"], frozen=True)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["3.weight", "3.bias"]
    network.train()
    hold_statistics(network)
    mean = network.get_buffer("1.running_mean").clone()
    images = torch.randn(5, 1, 4, 4) + 3
    assert torch.equal(network(images), network.eval()(images))
    assert torch.equal(network.get_buffer("1.running_mean"), mean)
    freeze_body(network, ["3"], frozen=False)
    assert all(p.requires_grad for p in network.parameters())
