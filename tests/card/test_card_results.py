"""What a CUDA card computes, against the CPU: networks, detectors, suppression, regions."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from striate.blocks.regions import roi_align, roi_pool
from striate.detection.detector import Detector
from striate.detection.found import Detected
from striate.planning.times import measure_rates
from striate.suppression import suppress, suppress_to
from striate.zoo import create_model

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("card")]

SIZE = (64, 96)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def boxes(count: int, width: float = 96.0, height: float = 64.0) -> Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(2)) * torch.tensor([width, height])
    return torch.cat([corners.amin(1), corners.amax(1) + 1], 1)


@pytest.mark.parametrize("model", ["lenet5", "googlenet", "resnet18", "mobilenet_v2", "fcn8s", "unet"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_network_says_the_same(model: str, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = create_model(model, num_classes=7).eval()
    images = drawn(2, *((1, 32, 32) if model == "lenet5" else (3, *SIZE) if model != "googlenet" else (3, 96, 96)))
    with torch.no_grad():
        expected = network(images)
        placed: Any = network.to(device="cuda", memory_format=layout)  # type: ignore[call-overload]
        said = placed(images.to("cuda", memory_format=layout)).cpu()
    assert said.shape == expected.shape
    assert float((said - expected).norm() / expected.norm()) < 1e-4


def detector(name: str, **options: Any) -> Detector:
    torch.manual_seed(0)
    made = create_model(name, num_classes=3, backbone="resnet18", **options)
    assert isinstance(made, Detector)
    made.fit_anchors(torch.tensor([[16.0, 16.0], [24.0, 24.0], [40.0, 40.0]]))
    return made.double()  # The order of scores, and with it what is learned from, is the same then.


DETECTORS = pytest.mark.parametrize(
    ("name", "options"),
    [("faster_rcnn", {}), ("faster_rcnn", {"pyramid": True}), ("faster_rcnn", {"pool": "align"}), ("mask_rcnn", {})],
    ids=str,
)


@DETECTORS
def test_losses_and_their_gradients_are_the_same(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.rand

    def alike(shape: Any, device: Any) -> Tensor:
        """Draw what is learned from on the CPU, so that it is the same on both."""
        return draw(shape, generator=torch.Generator().manual_seed(5)).to(device)

    monkeypatch.setattr(torch, "rand", alike)
    network = detector(name, **options).eval()
    images = drawn(2, 3, *SIZE, seed=1).double()
    things = torch.tensor([[8.0, 8.0, 32.0, 32.0], [40.0, 20.0, 80.0, 60.0], [0.0, 0.0, 0.0, 0.0]]).repeat(2, 1, 1)
    valid = torch.tensor([True, True, False]).repeat(2, 1)
    truth = [things, torch.tensor([0, 2, 0]).repeat(2, 1), valid, torch.zeros_like(valid)]
    if network.mask_side is not None:
        truth.append(255 * torch.ones(2, 3, network.mask_side, network.mask_side, dtype=torch.uint8))
    found = []
    for device in ("cpu", "cuda"):
        placed = copy.deepcopy(network).to(device)
        said = placed.losses(images.to(device), *(tensor.to(device) for tensor in truth))
        torch.autograd.backward(list(said.values()))
        gradients = {name: p.grad.cpu() for name, p in placed.named_parameters() if p.grad is not None}
        found.append(({name: float(value.detach()) for name, value in said.items()}, gradients))
    (expected, wanted), (computed, made) = found
    assert computed == pytest.approx(expected, rel=1e-5)
    assert made.keys() == wanted.keys()
    for key, gradient in wanted.items():
        assert torch.allclose(made[key], gradient, rtol=1e-3, atol=1e-6 + 1e-4 * float(gradient.abs().max())), key


@DETECTORS
def test_things_that_are_found_are_the_same(name: str, options: dict[str, Any]) -> None:
    network = detector(name, **options).eval()
    images = drawn(2, 3, *SIZE, seed=1).double()
    with torch.no_grad():
        expected = network(images)
        said = network.to("cuda")(images.cuda())
    assert torch.equal(said.valid.cpu(), expected.valid)
    assert torch.allclose(said.scores.cpu(), expected.scores, atol=1e-5)
    assert torch.allclose(in_order(said), in_order(expected), atol=1e-2)


def in_order(found: Detected) -> Tensor:
    """Return the class, the box and the score of each thing, by what they are: regions pooled alike score the same."""
    parts = found.labels.unsqueeze(-1), found.boxes_xyxy, found.scores.unsqueeze(-1)
    rows = torch.cat([part.cpu().double() for part in parts], -1)
    return torch.stack([torch.tensor(sorted(image.round(decimals=4).tolist())) for image in rows])


def test_suppression_keeps_the_same_and_stays_on_the_card() -> None:
    these, scores = boxes(2_000), torch.rand(2_000, generator=torch.Generator().manual_seed(3))
    labels = torch.randint(0, 3, (2_000,), generator=torch.Generator().manual_seed(4))
    on_card = suppress(these.cuda(), scores.cuda(), 0.5, labels.cuda())
    assert on_card.device.type == "cuda"
    assert torch.equal(on_card.cpu(), suppress(these, scores, 0.5, labels))
    these, scores = these.view(2, 1_000, 4), scores.view(2, 1_000)
    expected, said = suppress_to(these, scores, 0.6, 50), suppress_to(these.cuda(), scores.cuda(), 0.6, 50)
    assert torch.equal(said.indices.cpu(), expected.indices)
    assert torch.equal(said.valid.cpu(), expected.valid)


def test_regions_have_gradients_in_16_bits() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        maps = drawn(2, 8, 16, 24).to("cuda", dtype).requires_grad_()
        seen = roi_pool(maps, boxes(40).cuda(), torch.arange(40, device="cuda") % 2, (7, 7), stride=4)
        torch.autograd.backward(seen.sum())
        assert seen.dtype == dtype
        assert maps.grad is not None


@pytest.mark.parametrize("look", [roi_pool, roi_align], ids=["pool", "align"])
def test_regions_and_their_gradients_are_the_same(look: Callable[..., Tensor]) -> None:
    maps, these, images = drawn(2, 8, 16, 24), boxes(400), torch.arange(400) % 2
    found = []
    for device in ("cpu", "cuda"):
        placed = maps.to(device, copy=True).requires_grad_()
        seen = look(placed, these.to(device), images.to(device), (7, 7), stride=4)
        torch.autograd.backward((seen**2).sum())
        assert placed.grad is not None
        found.append((seen.detach().cpu(), placed.grad.cpu()))
    for expected, said in zip(*found, strict=True):
        assert torch.allclose(said, expected, rtol=1e-4, atol=1e-4)


def test_rates_are_measured_on_the_card() -> None:
    whole, half = measure_rates("cuda"), measure_rates("cuda", "float16")
    assert half.macs > 1e11 < whole.macs
    assert whole.bytes > 1e10
