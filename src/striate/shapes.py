"""Integer arithmetic of sliding windows: how large an output is, and how large an input must be."""

from collections.abc import Sequence
from dataclasses import dataclass

from striate.errors import UsageError
from striate.units import format_size


@dataclass(frozen=True, slots=True)
class Window:
    """A window that slides along one axis; all sizes in elements.

    ``ceil_mode`` counts a last window that hangs over the edge, if it starts inside the input or its left padding.
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    ceil_mode: bool = False

    @property
    def extent(self) -> int:
        """How many elements the window spans, its gaps included."""
        return self.dilation * (self.kernel - 1) + 1


def output_size(size: int, window: Window) -> int:
    """Return how many places the window takes on an axis of ``size`` elements; below 1 where it does not fit.

    ⌊(size + 2·padding - extent) / stride⌋ + 1, the division rounding up in ceil mode (Dumoulin and Visin, "A guide to
    convolution arithmetic for deep learning", 2016, relationship 15).
    """
    room = size + 2 * window.padding - window.extent
    if not window.ceil_mode:
        return room // window.stride + 1
    places = -(-room // window.stride) + 1
    if (places - 1) * window.stride >= size + window.padding:
        places -= 1
    return places


def chain_output(size: int, windows: Sequence[Window]) -> int:
    """Return the size that is left after all ``windows`` in turn; 0 where one of them does not fit."""
    for window in windows:
        size = output_size(size, window)
        if size < 1:
            return 0
    return size


def smallest_input(windows: Sequence[Window], wanted: int = 1) -> int:
    """Return the smallest axis on which all ``windows`` in turn leave ``wanted`` elements or more."""
    for window in reversed(windows):
        size = max(1, (wanted - 1) * window.stride + window.extent - 2 * window.padding)
        while size > 1 and output_size(size - 1, window) >= wanted:
            size -= 1
        while output_size(size, window) < wanted:
            size += 1
        wanted = size
    return wanted


def chain_image(name: str, image_size: tuple[int, int], windows: Sequence[Window]) -> tuple[int, int]:
    """Return the (height, width) that ``windows`` leave of an image.

    Raises:
        UsageError: where nothing is left, naming the smallest image that ``name`` takes.
    """
    height, width = (chain_output(side, windows) for side in image_size)
    if height < 1 or width < 1:
        smallest = smallest_input(windows)
        raise UsageError(
            expected=f"an image of at least {smallest}x{smallest} for {name}",
            received=format_size(image_size),
            remedy=f"Use --image-size {smallest} or larger.",
        )
    return height, width


def same_padding(kernel: int) -> int:
    """Return the padding that keeps a stride-1 convolution's size; the kernel must be odd."""
    if kernel % 2 == 0:
        raise UsageError(
            expected="an odd kernel", received=str(kernel), remedy="An even kernel has no symmetric 'same' padding."
        )
    return kernel // 2
