"""Window arithmetic against torch, which slides the windows for real."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F

from striate.errors import UsageError
from striate.shapes import Window, chain_image, chain_output, output_size, same_padding, smallest_input

windows = st.builds(
    Window,
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 3),
    ceil_mode=st.booleans(),
)


@given(size=st.integers(1, 40), window=windows)
def test_output_size_is_torchs(size: int, window: Window) -> None:
    assume(window.padding <= window.kernel // 2)
    image = torch.zeros(1, 1, size)
    try:
        pooled = F.max_pool1d(
            image, window.kernel, window.stride, window.padding, window.dilation, ceil_mode=window.ceil_mode
        ).shape[-1]
    except RuntimeError:
        pooled = 0
    assert max(output_size(size, window), 0) == pooled


@given(chain=st.lists(windows, min_size=1, max_size=4), wanted=st.integers(1, 3))
def test_smallest_input_is_the_smallest_that_works(chain: list[Window], wanted: int) -> None:
    smallest = smallest_input(chain, wanted)
    assert chain_output(smallest, chain) >= wanted
    assert all(chain_output(size, chain) < wanted for size in range(1, smallest))


def test_an_image_that_leaves_nothing_is_refused_with_the_smallest_that_works() -> None:
    chain = [Window(5), Window(2, 2), Window(5), Window(2, 2)]
    assert chain_image("LeNet-5", (32, 28), chain) == (5, 4)
    with pytest.raises(UsageError, match="at least 16x16 for LeNet-5; received 32x15"):
        chain_image("LeNet-5", (32, 15), chain)


def test_same_padding_keeps_the_size_and_needs_an_odd_kernel() -> None:
    for kernel in (1, 3, 5, 7):
        assert output_size(10, Window(kernel, padding=same_padding(kernel))) == 10
    with pytest.raises(UsageError, match="odd kernel"):
        same_padding(4)
