"""Arithmetic of sliding windows, one side at a time."""

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from striate.errors import UsageError


class Span(NamedTuple):
    """Places of one side that follow each other.

    Args:
        start: the first of them.
        end: the one behind the last.
    """

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many there are."""
        return self.end - self.start

    def joined(self, other: "Span") -> "Span":
        """Return the places of both, and those between."""
        return Span(min(self.start, other.start), max(self.end, other.end))

    def clipped(self, size: int) -> "Span":
        """Return those that a side of ``size`` has; the nearest one where it has none of them."""
        start = min(max(self.start, 0), size - 1)
        return Span(start, max(min(self.end, size), start + 1))

    def moved(self, by: int) -> "Span":
        """Return places further back, or ahead."""
        return Span(self.start + by, self.end + by)


def same_padding(kernel: int, dilation: int = 1) -> int:
    """Return the padding that keeps the size of maps under a window of stride 1.

    Args:
        kernel: side of the window, in weights.
        dilation: pixels between two of them.

    Raises:
        UsageError: for an even kernel, which no padding of both sides alike can keep in size.
    """
    if kernel % 2 == 0:
        raise UsageError(
            expected="an odd kernel", received=str(kernel), remedy="An even kernel has no symmetric 'same' padding."
        )
    return dilation * (kernel - 1) // 2


@dataclass(frozen=True, slots=True)
class Window:
    """One side of a sliding window.

    Args:
        kernel: places that it looks at.
        stride: places between two positions of it.
        before: places of padding before the first.
        after: places of padding after the last.
        dilation: places between two that it looks at.
    """

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def span(self) -> int:
        """Places from the first that it looks at to the last, both counted."""
        return self.dilation * (self.kernel - 1) + 1

    def out(self, size: int) -> int:
        """Return how often it fits into a side: ⌊(size + padding - span) / stride⌋ + 1."""
        return (size + self.before + self.after - self.span) // self.stride + 1

    def needs(self, out: Span) -> Span:
        """Return which places the window sees at some of its positions; those of padding are below 0 or past the end.

        Position p sees the places from p · stride - before on.
        """
        start = out.start * self.stride - self.before
        return Span(start, start + (out.size - 1) * self.stride + self.span)

    def needs_transposed(self, out: Span) -> Span:
        """Return from which places a transposed convolution makes some of its own; some may be outside the side.

        Place p becomes part of those from p · stride - before on, as many as the window spans.
        """
        start = (out.start + self.before - self.span + 1) // self.stride
        return Span(start, -((-out.end + 1 - self.before) // self.stride) + 1)


@dataclass(frozen=True, slots=True)
class Field:
    """One side of the receptive field of a map's units: what of the image each of them sees.

    Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", 2019, with the start in place
    of the centre.

    Args:
        size: pixels that one unit sees.
        stride: pixels from what one unit sees to what the next one sees; 0 where all see the same.
        start: first pixel that the first unit sees; negative where it sees padding.
    """

    size: Fraction = Fraction(1)
    stride: Fraction = Fraction(1)
    start: Fraction = Fraction(0)

    def under(self, window: Window) -> "Field":
        """Return the field of the units that a window makes of these."""
        return Field(
            self.size + (window.span - 1) * self.stride,
            self.stride * window.stride,
            self.start - window.before * self.stride,
        )

    def under_transposed(self, window: Window) -> "Field":
        """Return the field of the units that a transposed convolution makes of these: the largest, where they differ.

        A window of span S and stride s gives each unit ⌈S / s⌉ of these at most.
        """
        seen = -(-window.span // window.stride)
        first = -((window.span - 1 - window.before) // window.stride)
        return Field(
            self.size + (seen - 1) * self.stride, self.stride / window.stride, self.start + first * self.stride
        )

    def resized(self, ratio: Fraction, seen: int) -> "Field":
        """Return the field of the units of a map resized by ``ratio``, each made of ``seen`` neighbours of these."""
        first = (1 / ratio - seen) / 2 if seen > 1 else Fraction(0)
        return Field(self.size + (seen - 1) * self.stride, self.stride / ratio, self.start + first * self.stride)

    def joined(self, other: "Field") -> "Field":
        """Return the field of units that see what these see and what others do."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Field(end - start, max(self.stride, other.stride), start)

    def of_all(self, count: int) -> "Field":
        """Return what ``count`` neighbours see together, as the field of units that each see all of it."""
        return Field(self.size + (count - 1) * self.stride, Fraction(0), self.start)
