"""A convolution as one product of matrices: im2col.

Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006, section
3.1: what each window sees is written out as a column, so that all windows of all kernels are one product. It is read
often and written once, but takes as many times the memory of the maps as a window has places, for a stride of 1.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from striate.shapes import Window


def columns(images: Float[Tensor, "N C H W"], down: Window, across: Window) -> Float[Tensor, "N rows places"]:
    """Return what each window sees: a column for each place, a row for each channel and each place in the kernel.

    Args:
        images: or maps.
        down: the window along rows.
        across: along columns.
    """
    padded = F.pad(images, (across.before, across.after, down.before, down.after))
    rows, cols = (_seen(window, size) for window, size in zip((down, across), images.shape[2:], strict=True))
    # N x C x kernel rows x kernel columns x places down x places across.
    seen = padded[:, :, rows[:, None, :, None], cols[None, :, None, :]]
    return seen.flatten(4).flatten(1, 3)


def convolve(
    images: Float[Tensor, "N C H W"],
    kernels: Float[Tensor, "O C kh kw"],
    bias: Float[Tensor, " O"] | None,
    down: Window,
    across: Window,
) -> Float[Tensor, "N O h w"]:
    """Return the convolution of images, as kernels times columns.

    Args:
        images: or maps.
        kernels: one for each map that comes out.
        bias: added to each of these.
        down: the kernels' window along rows.
        across: along columns.
    """
    made = kernels.flatten(1) @ columns(images, down, across)
    if bias is not None:
        made = made + bias[:, None]
    return made.view(len(images), len(kernels), down.out(images.shape[2]), across.out(images.shape[3]))


def _seen(window: Window, size: int) -> Tensor:
    """Return which padded place each place of a kernel sees, at each of its positions."""
    places, positions = torch.arange(window.kernel) * window.dilation, torch.arange(window.out(size)) * window.stride
    return places[:, None] + positions
