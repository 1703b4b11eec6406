"""Where networks can be looked into."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from striate.explanation.points import find_points, first_filters, last_convolved, maps_at, one_of_each_size, run_to
from striate.shapes import Span
from striate.zoo import create_model


class Twice(nn.Module):
    """Runs one convolution twice, and changes what it made in place."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.mix(self.act(self.mix(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_three_convolutions_see_seven_pixels() -> None:
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
    points = find_points(network, torch.empty(1, 3, 12, 10))
    assert [(point.name, point.shape, int(point.fields[0].size)) for point in points] == [
        ("0", (3, 12, 10), 3),
        ("1", (3, 12, 10), 5),
        ("2", (3, 12, 10), 7),
    ]
    assert points[2].seen(5, 0) == (Span(2, 9), Span(-3, 4))


def test_what_is_done_in_place_is_one_point_and_a_module_that_runs_twice_is_two() -> None:
    torch.manual_seed(0)
    network, image = Twice().eval(), torch.randn(1, 3, 8, 8)
    points = find_points(network, image)
    assert [(point.name, point.turn, int(point.fields[0].size)) for point in points] == [("act", 0, 3), ("act", 1, 5)]
    first = network.mix(image).relu()
    second = network.mix(first).relu()
    found = maps_at(network, image, points)
    for point, expected in zip(points, (first, second), strict=True):
        torch.testing.assert_close(found[point], expected)
        torch.testing.assert_close(run_to(network, image, point), expected)
    assert last_convolved(points) == points[1]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("name", "names", "last"),
    [
        ("vgg11", ["1", "4", "9", "14", "19"], "features.19"),
        ("resnet18", ["stem", "stage1", "stage2", "stage3"], "features"),
        ("squeezenet1_0", ["1", "5", "10"], "classifier.2"),
    ],
)
def test_a_point_of_each_size_and_the_last_convolution(name: str, names: list[str], last: str) -> None:
    with torch.device("meta"):
        network = create_model(name).eval()
    points = find_points(network, torch.empty(1, 3, 224, 224, device="meta"))
    assert [point.name for point in one_of_each_size(points)] == [*(f"features.{each}" for each in names), "features"]
    found = last_convolved(points)
    assert found is not None
    assert found.name == last


class Gated(nn.Module):
    """Maps weighed by what a window as large as they are makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.gate = nn.Conv2d(1, 1, 3, padding=1), nn.AvgPool2d(24)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.mix(x)
        gated: Tensor = maps * self.gate(maps)
        return gated


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2d(1, 1, 3, 2, 1), nn.ConvTranspose2d(1, 1, 4, 2, 1), nn.Conv2d(1, 1, 3, padding=1)],
        lambda: [nn.Conv2d(1, 1, 3, 2, 1), nn.ConvTranspose2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, 2)],
        lambda: [nn.ConvTranspose2d(1, 1, 3, 2), nn.ConvTranspose2d(1, 1, 5, 3, 2), nn.MaxPool2d(2)],
        lambda: [nn.Conv2d(1, 1, 3, padding=1), nn.AdaptiveAvgPool2d(7), nn.Conv2d(1, 1, 3, padding=1)],
        lambda: [nn.AdaptiveAvgPool2d(9), nn.ConvTranspose2d(1, 1, 2, 2), nn.AdaptiveAvgPool2d(5)],
        lambda: [nn.Conv2d(1, 1, 3, 2, 1), nn.Upsample(scale_factor=3, mode="bilinear"), nn.Conv2d(1, 1, 3)],
        lambda: [nn.AvgPool2d(4), nn.Upsample(scale_factor=4, mode="bilinear", align_corners=True)],
        lambda: [nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3)],
        lambda: [Gated()],
    ],
)
def test_what_a_unit_is_said_to_see_holds_all_that_moves_it_and_no_more(layers: Callable[[], list[nn.Module]]) -> None:
    network = nn.Sequential(*layers()).double()
    for parameter in network.parameters():
        nn.init.ones_(parameter)  # So that no way cancels another.
    image = (1 + torch.rand(1, 1, 24, 24, dtype=torch.float64)).requires_grad_()
    point = find_points(network, image.detach())[-1]
    maps = network(image)[0, 0]
    assert point.sides == maps.shape
    for place in range(maps.shape[0]):
        (gradient,) = torch.autograd.grad(maps[place, place], image, retain_graph=True)
        moved = (gradient[0, 0] != 0).any(1).nonzero()
        rows, columns = (span.clipped(24) for span in point.seen(place, place))
        assert rows == columns
        # Of a maximum, only one of the places is moved; and a neighbour may have a share of 0.
        exact = not any(isinstance(layer, nn.MaxPool2d | nn.Upsample) for layer in network)
        found = Span(int(moved[0]), int(moved[-1]) + 1)
        assert found == rows if exact else rows.joined(found) == rows, place


def test_a_network_without_maps_has_no_points() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    assert find_points(network, torch.empty(1, 3, 4, 4)) == []
    assert last_convolved([]) is None


def test_the_first_filters() -> None:
    network = create_model("lenet5")
    found = first_filters(network, torch.zeros(1, 1, 32, 32))
    assert found is not None
    assert found.shape == (6, 1, 5, 5)
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert first_filters(nn.Linear(3, 3), torch.zeros(1, 3, 3, 3)) is None
