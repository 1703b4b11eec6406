"""Convolutions as products of matrices are torch's."""

import pytest
import torch
from torch.nn import functional as F

from striate.explanation.columns import columns, convolve
from striate.shapes import Window


@pytest.mark.parametrize(
    ("down", "across"),
    [
        (Window(3), Window(3)),
        (Window(3, 1, 1, 1), Window(3, 1, 1, 1)),
        (Window(2, 3), Window(5, 2, 2, 2)),
        (Window(3, 2, 2, 2, 2), Window(1)),
        (Window(1), Window(4, 1, 0, 0, 2)),
    ],
)
def test_kernels_times_columns_are_the_convolution(down: Window, across: Window) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 11, 14, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(5, 3, down.kernel, across.kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64)
    strides, dilations = (down.stride, across.stride), (down.dilation, across.dilation)
    expected = F.conv2d(images, kernels, bias, strides, (down.before, across.before), dilations)
    found = convolve(images, kernels, bias, down, across)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), (images, kernels)),
        torch.autograd.grad((expected * weights).sum(), (images, kernels)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_each_column_is_what_a_window_sees() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    found = columns(image, Window(3), Window(3))
    assert found.shape == (1, 9, 4)
    assert found[0, :, 0].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert found[0, :, 3].tolist() == [5, 6, 7, 9, 10, 11, 13, 14, 15]
    # Padded, and of other sides before than behind: as torch pads one image.
    ends = Window(3, 2, 1, 0)
    padded = F.pad(image, (1, 0, 1, 0))
    assert torch.equal(columns(image, ends, ends), F.unfold(padded, 3, stride=2))
