"""Losses against plain loops, and their gradients against finite differences."""

import pytest
import torch
from torch import Tensor

from striate.style.losses import content_loss, gram, relative_error, style_loss, total_variation

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def maps(seed: int, channels: int = 3, height: int = 4, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64)


def gram_by_loops(of: Tensor) -> list[list[float]]:
    _, channels, height, width = of.shape
    found = [[0.0] * channels for _ in range(channels)]
    for i in range(channels):
        for j in range(channels):
            for row in range(height):
                for column in range(width):
                    found[i][j] += float(of[0, i, row, column]) * float(of[0, j, row, column])
            found[i][j] /= channels * height * width
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gram_matrix_is_that_of_plain_loops(layout: torch.memory_format) -> None:
    given = maps(0).contiguous(memory_format=layout)
    assert torch.allclose(gram(given), torch.tensor(gram_by_loops(given), dtype=torch.float64), rtol=1e-12)


def test_places_can_be_exchanged_and_repeated_without_a_change_of_style() -> None:
    given = maps(1)
    moved = given.flatten(2)[:, :, torch.randperm(20, generator=torch.Generator().manual_seed(0))].view_as(given)
    assert torch.allclose(gram(given), gram(moved))
    assert torch.allclose(gram(given), gram(torch.cat((given, given), 3)))
    assert not torch.allclose(gram(given), gram(maps(2)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_finite_differences(layout: torch.memory_format) -> None:
    given = maps(3).contiguous(memory_format=layout).requires_grad_()
    aim = maps(4)
    assert torch.autograd.gradcheck(gram, (given,))
    assert torch.autograd.gradcheck(lambda x: content_loss(x, aim), (given,))
    assert torch.autograd.gradcheck(lambda x: style_loss([x, x], [gram(aim), gram(aim)]), (given,))
    assert torch.autograd.gradcheck(total_variation, (given,))


def test_the_gradient_of_maps_lies_as_they_do() -> None:
    given = maps(5).contiguous(memory_format=torch.channels_last).requires_grad_()
    (gradient,) = torch.autograd.grad(gram(given).sum(), given)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_errors_are_relative_to_what_is_aimed_at() -> None:
    found, aim = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 0.0, 2.0])
    assert float(relative_error(found, aim)) == pytest.approx((0 + 4 + 9) / (1 + 0 + 4))
    assert float(relative_error(100 * found, 100 * aim)) == pytest.approx(13 / 5)
    assert float(relative_error(torch.zeros(2), torch.zeros(2))) == 0.0


def test_the_loss_of_style_is_the_mean_over_layers() -> None:
    found, aims = [maps(6), maps(7)], [gram(maps(8)), gram(maps(7))]
    first = float(relative_error(gram(found[0]), aims[0]))
    assert float(style_loss(found, aims)) == pytest.approx(first / 2)


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[[[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]]]])
    down = (2**2 + 1**2 + 1**2) / 3
    across = (1**2 + 2**2 + 0 + 0) / 4
    assert float(total_variation(image)) == pytest.approx(down + across)
    assert float(total_variation(torch.full((1, 3, 4, 4), 0.7))) == 0.0
