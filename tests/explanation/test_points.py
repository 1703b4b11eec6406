"""Where networks can be looked into."""

import pytest
import torch
from torch import Tensor, nn

from striate.explanation.points import find_points, last_convolved, maps_at, one_of_each_size, run_to
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


def test_a_network_without_maps_has_no_points() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    assert find_points(network, torch.empty(1, 3, 4, 4)) == []
    assert last_convolved([]) is None
