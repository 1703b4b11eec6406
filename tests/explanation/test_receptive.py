"""What units really see, where it is known."""

import pytest
import torch
from torch import nn

from striate.explanation.points import find_points
from striate.explanation.receptive import effective_field, effective_side
from striate.zoo import create_model


def test_of_equal_weights_the_field_is_the_number_of_ways_that_lead_there() -> None:
    """Luo et al., section 2.1: of n convolutions with equal weights, the n-fold convolution of a box with itself."""
    network = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3)))
    for layer in network:
        assert isinstance(layer, nn.Conv2d)
        nn.init.ones_(layer.weight)
    image = torch.randn(1, 1, 11, 13)
    point = find_points(network, image)[-1]
    found = effective_field(network, image, point, (5, 6))
    ways = torch.tensor([1.0, 3.0, 6.0, 7.0, 6.0, 3.0, 1.0])
    expected = torch.zeros(11, 13)
    expected[2:9, 3:10] = torch.outer(ways, ways).square()
    torch.testing.assert_close(found, expected / expected.sum())


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_0"])
def test_nothing_outside_of_the_theoretical_field_matters(name: str) -> None:
    torch.manual_seed(0)
    network = create_model(name).eval()
    image = torch.rand(1, 1 if name == "lenet5" else 3, *((32, 32) if name == "lenet5" else (64, 96)))
    for point in find_points(network, image):
        unit = (point.sides[0] // 2, point.sides[1] // 3)
        rows, columns = (span.clipped(size) for span, size in zip(point.seen(*unit), image.shape[2:], strict=True))
        energy = effective_field(network, image, point, unit)
        inside = energy[rows.start : rows.end, columns.start : columns.end].sum()
        assert float(inside) == pytest.approx(1, abs=1e-5), point.name
        assert float(energy.sum()) == pytest.approx(1, abs=1e-5), point.name


def test_signs_of_channels_are_drawn_alike_each_time() -> None:
    torch.manual_seed(0)
    network, image = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 3)), torch.rand(1, 3, 16, 16)
    point = find_points(network, image)[-1]
    first, second, other = (effective_field(network, image, point, (4, 4), seed) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_side_that_holds_most() -> None:
    energy = torch.zeros(9, 9)
    energy[4, 4] = 0.9
    assert effective_side(energy / energy.sum(), (4.0, 4.0)) == 1
    energy[4, 6] = 0.06  # Two places away: a square of five holds it, and with it 96 %.
    energy[0, 0] = 0.04
    assert effective_side(energy, (4.0, 4.0)) == 5
    energy[0, 0] = 0.1
    assert effective_side(energy, (4.0, 4.0)) == 9
    assert effective_side(torch.full((4, 4), 1 / 16), (1.5, 1.5)) == 4
    assert effective_side(torch.zeros(4, 4), (1.5, 1.5)) == 0
