import pytest
import torch
from torch import nn

from striate.blocks.normalisation import freeze_norms
from striate.inference.folding import fold_norms
from striate.zoo import ZOO, create_model

NORMED = [
    name
    for name, entry in ZOO.items()
    if entry.parameters < 13e6 and any(part in name for part in ("bn", "resnet", "mobilenet", "strided", "deeplab"))
]


def shaken(name: str) -> nn.Module:
    """A network whose batch norms do something."""
    torch.manual_seed(0)
    network = create_model(name).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", NORMED)
def test_a_folded_network_gives_the_same_without_its_norms(name: str, frozen: bool) -> None:
    network, entry = shaken(name), ZOO[name]
    if frozen:
        freeze_norms(network)
    norms = sum(hasattr(module, "running_var") for module in network.modules())
    image = torch.randn(2, entry.in_chans, *(min(side, 64) for side in entry.image_size))
    with torch.no_grad():
        before = network(image)
        assert fold_norms(network) == norms > 3
        after = network(image)
    assert not any(hasattr(module, "running_var") for module in network.modules())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))


def test_what_does_not_follow_a_convolution_stays() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
    image = torch.randn(1, 3, 8, 8)
    before = network.eval()(image)
    assert fold_norms(network) == 0
    assert torch.equal(network(image), before)
