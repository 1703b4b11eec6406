"""What speaks for a class, where it is known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from striate.explanation.deletion import area_below, deletion_curve
from striate.explanation.points import find_points, last_convolved
from striate.explanation.saliency import grad_cam, occlude, occlusion_places, spread


class Pooled(nn.Module):
    """A convolution, the mean over the map, a dense layer: of it, Grad-CAM is known (Selvaraju et al., appendix A)."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.act, self.head = nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(inplace=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.act(self.mix(x)).mean((2, 3)))
        return logits


def test_behind_a_mean_it_is_the_dense_layers_weights_times_the_maps() -> None:
    torch.manual_seed(0)
    network, image = Pooled().eval(), torch.randn(1, 3, 15, 19)
    point = last_convolved(find_points(network, image))
    assert point is not None
    with torch.no_grad():
        maps = network.mix(image).relu()[0]
        expected = torch.zeros(maps.shape[1:])
        for channel in range(6):
            expected += network.head.weight[2, channel] / (7 * 9) * maps[channel]
    found = grad_cam(network, image, point, 2)
    torch.testing.assert_close(found, expected.clamp_min(0))
    assert found.max() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_squares_cover_all_of_an_image() -> None:
    assert occlusion_places((10, 7), 4, 3) == ([0, 3, 6], [0, 3])
    assert occlusion_places((3, 9), 4, 2) == ([0], [0, 2, 4, 5])
    for size, side, step in (((23, 31), 5, 2), ((8, 8), 8, 3)):
        covered = np.zeros(size, dtype=int)
        rows, columns = occlusion_places(size, side, step)
        for row in rows:
            for column in columns:
                covered[row : row + side, column : column + side] += 1
        assert covered.min() >= 1
        assert max(rows) + side == size[0]
        assert max(columns) + side == size[1]


def test_occlusion_is_what_a_loop_finds() -> None:
    torch.manual_seed(0)
    network, image = Pooled().eval(), torch.randn(1, 3, 15, 19)
    found = torch.cat(list(occlude(network, image, 1, 5, 4)))
    expected = []
    with torch.no_grad():
        whole = network(image).softmax(1)[0, 1]
        for row in (0, 4, 8, 10):
            for column in (0, 4, 8, 12, 14):
                covered = image.clone()
                covered[0, :, row : row + 5, column : column + 5] = 0
                expected.append(whole - network(covered).softmax(1)[0, 1])
    torch.testing.assert_close(found, torch.stack(expected))


def test_spread_has_each_value_at_the_middle_of_its_place() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, 8.0]])
    found = spread(values, (1.5, 2.5), (3.0, 4.0), (6, 13))
    assert found.shape == (6, 13)
    for row in range(2):
        for column in range(3):
            assert float(found[1 + 3 * row, 2 + 4 * column]) == pytest.approx(float(values[row, column]), abs=1e-5)
    assert float(found[1, 4]) == pytest.approx(1.5, abs=1e-5)  # Half way between 1 and 2.
    assert float(found[0, 12]) == pytest.approx(4, abs=1e-5)  # Beyond the last, as the last.
    assert torch.equal(spread(torch.full((1, 1), 7.0), (4.0, 4.0), (8.0, 8.0), (5, 5)), torch.full((5, 5), 7.0))


class Counting(nn.Module):
    """Two classes: the logit of the first is the sum of some pixels."""

    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        first = (x[:, 0] * self.weights).sum((1, 2))
        return torch.stack([first, torch.zeros_like(first)], 1)


def test_what_matters_most_goes_first() -> None:
    weights = torch.tensor([[0.0, 1.0], [3.0, 2.0]])
    network, image = Counting(weights), torch.ones(1, 1, 2, 2)
    shares = [float(torch.tensor(logit).sigmoid()) for logit in (6.0, 3.0, 1.0, 0.0, 0.0)]
    assert deletion_curve(network, image, weights, 0, 4) == pytest.approx(shares)
    backwards = [float(torch.tensor(logit).sigmoid()) for logit in (6.0, 6.0, 5.0, 3.0, 0.0)]
    assert deletion_curve(network, image, -weights, 0, 4) == pytest.approx(backwards)
    assert torch.equal(image, torch.ones(1, 1, 2, 2))


def test_what_matters_alike_goes_in_an_order_of_chance() -> None:
    weights = torch.zeros(20, 20)
    weights[:10] = 0.01  # From above, all of it would be gone when half of the image is.
    curve = deletion_curve(Counting(weights), torch.ones(1, 1, 20, 20), torch.zeros(20, 20), 0)
    half = float(torch.tensor(1.0).sigmoid())
    assert curve[10] == pytest.approx(half, abs=0.05)
    assert curve == deletion_curve(Counting(weights), torch.ones(1, 1, 20, 20), torch.ones(20, 20), 0)
    assert curve != deletion_curve(Counting(weights), torch.ones(1, 1, 20, 20), torch.ones(20, 20), 0, seed=1)


def test_areas_are_those_of_trapezia() -> None:
    assert area_below([1.0, 1.0, 1.0]) == 1
    assert area_below([1.0, 0.0]) == 0.5
    assert area_below([1.0, 0.5, 0.0, 0.0]) == pytest.approx(float(np.trapezoid([1, 0.5, 0, 0], dx=1 / 3)))
