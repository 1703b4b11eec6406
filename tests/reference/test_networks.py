"""The same weights give the same logits as in torchvision and timm, under those libraries' own names of the tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_peers import import_peer
from torch import Tensor, nn

from striate.files import save_tensors
from striate.pretrained import REPOSITORIES
from striate.zoo import ZOO, create_model

models: Any = import_peer("torchvision.models")
timm: Any = import_peer("timm")

TORCHVISION = {
    "alexnet_owt": "alexnet",
    "googlenet_bn": "googlenet",
    **{
        name: name
        for name in (
            *("vgg11", "vgg13", "vgg16", "vgg19", "vgg16_bn", "squeezenet1_0", "mobilenet_v2"),
            *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        )
    },
}
TIMM = ("seresnet18", "seresnet50", "seresnet152", "senet154", "xception")


def build_peer(name: str) -> nn.Module:
    peer: nn.Module
    if name in TIMM:
        peer = timm.create_model(f"legacy_{name}")
    else:
        options = {"init_weights": True} if name == "googlenet_bn" else {}
        peer = getattr(models, TORCHVISION[name])(**options)
    return peer


def images(name: str) -> Tensor:
    return torch.randn(2, 3, *ZOO[name].image_size, generator=torch.Generator().manual_seed(1))


def settle(peer: nn.Module, x: Tensor) -> None:
    """Give every batch norm statistics, weights and biases of its own, such that the logits stay of ordinary size."""
    norms = [module for module in peer.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
        norm.momentum = 1.0
    with torch.no_grad():
        peer.train()(x)
    peer.eval()


@pytest.fixture
def save(tmp_path: Path) -> Callable[[nn.Module], Path]:
    def write(peer: nn.Module) -> Path:
        save_tensors(tmp_path / "peer.safetensors", peer.state_dict())
        return tmp_path / "peer.safetensors"

    return write


def expect_equal(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-4, and to 1e-4 of what one image's logits differ from another's by."""
    apart = float((theirs[0] - theirs[1]).abs().max())
    assert 0 < apart < 1e3
    assert float((ours - theirs).abs().max()) <= 1e-4 * min(1.0, apart)


# Of networks that both have, weights on the hub are in timm's form.
HUBS = {name: repository.partition(".")[0] for name, repository in REPOSITORIES.items() if name not in TIMM}


@pytest.mark.parametrize("name", HUBS)
def test_weights_in_the_hubs_form_give_the_peers_logits(name: str, save: Callable[[nn.Module], Path]) -> None:
    torch.manual_seed(0)
    peer, x = timm.create_model(HUBS[name]), images(name)
    settle(peer, x)
    network = create_model(name, pretrained=save(peer)).eval()
    with torch.no_grad():
        expect_equal(network(x), peer(x))


@pytest.mark.parametrize("name", [*TORCHVISION, *TIMM])
def test_logits_are_the_peers(name: str, save: Callable[[nn.Module], Path]) -> None:
    torch.manual_seed(0)
    peer, x = build_peer(name), images(name)
    settle(peer, x)
    network = create_model(name, pretrained=save(peer)).eval()
    with torch.no_grad():
        expect_equal(network(x), peer(x))


def test_auxiliary_logits_are_torchvisions(save: Callable[[nn.Module], Path]) -> None:
    torch.manual_seed(0)
    peer, x = build_peer("googlenet_bn"), images("googlenet_bn")
    settle(peer, x)
    network: Any = create_model("googlenet_bn", pretrained=save(peer), aux_heads=True, drop_rate=0.0)
    for net in (network, peer):
        net.train()
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    with torch.no_grad():
        ours, theirs = network.forward_all(x), peer(x)
    expect_equal(ours.logits, theirs.logits)
    expect_equal(ours.aux1, theirs.aux_logits1)
    expect_equal(ours.aux2, theirs.aux_logits2)


def test_torchvisions_published_googlenet_sees_images_of_mean_and_deviation_a_half(
    save: Callable[[nn.Module], Path],
) -> None:
    """Its weights come with a network that turns the usual normalisation into that one."""
    torch.manual_seed(0)
    peer = models.googlenet(init_weights=True, transform_input=True)
    pixels = torch.rand(2, 3, 224, 224)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    settle(peer, (pixels - mean) / std)
    network = create_model("googlenet_bn", pretrained=save(peer)).eval()
    with torch.no_grad():
        expect_equal(network((pixels - 0.5) / 0.5), peer((pixels - mean) / std))


@pytest.mark.parametrize("name", TORCHVISION)
def test_multiply_adds_are_those_that_torchvision_publishes(name: str) -> None:
    published = models.get_model_weights(TORCHVISION[name]).DEFAULT.meta
    assert ZOO[name].macs / 1e9 == pytest.approx(published["_ops"], abs=5e-4)
    assert ZOO[name].parameters == published["num_params"]
