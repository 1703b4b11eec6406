"""Arithmetic of sliding windows, one side at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from heapq import heappop, heappush
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

        Place p becomes part of those from p · stride - before on, as many as the window spans. Of what no place
        becomes part of, as between windows smaller than their stride, it is those before and behind.
        """
        first, last = out.start + self.before, out.end - 1 + self.before
        start = min(-((self.span - 1 - first) // self.stride), first // self.stride)
        return Span(start, max(-((self.span - 1 - last) // self.stride), last // self.stride) + 1)


@dataclass(frozen=True, slots=True)
class Field:
    """One side of the receptive field of a map's units: what of the image each of them sees.

    Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", 2019, with the start in place
    of the centre. Where units differ, as those of a transposed convolution do, only `seen` is exact.

    Args:
        size: pixels that one unit sees, the largest.
        stride: pixels from what one unit sees to what the next one sees; 0 where all see the same.
        start: first pixel that the first unit sees; negative where it sees padding.
        sources: fields of the units that these are made of, each with which of those some of these need.
        depth: steps from the image.
    """

    size: Fraction = Fraction(1)
    stride: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    sources: "tuple[tuple[Field, Callable[[Span], Span]], ...]" = field(default=(), compare=False, repr=False)
    depth: int = field(default=0, compare=False, repr=False)

    def seen(self, units: Span) -> Span:
        """Return the pixels that some units see together; those of padding are below 0 or past the end."""
        waiting, needed = [(-self.depth, id(self), self)], {id(self): units}
        while waiting[0][2].sources:
            _, key, last = heappop(waiting)
            for source, needs in last.sources:
                found, known = needs(needed[key]), needed.get(id(source))
                if known is None:
                    heappush(waiting, (-source.depth, id(source), source))
                needed[id(source)] = found if known is None else known.joined(found)
        return needed[waiting[0][1]]

    def under(self, window: Window) -> "Field":
        """Return the field of the units that a window makes of these."""
        size, start = self.size + (window.span - 1) * self.stride, self.start - window.before * self.stride
        return self._made(size, self.stride * window.stride, start, window.needs)

    def under_transposed(self, window: Window) -> "Field":
        """Return the field of the units that a transposed convolution makes of these: the largest, where they differ.

        A window of span S and stride s gives each unit ⌈S / s⌉ of these at most.
        """
        seen = -(-window.span // window.stride)
        start = self.start - ((window.span - 1 - window.before) // window.stride) * self.stride
        size = self.size + (seen - 1) * self.stride
        return self._made(size, self.stride / window.stride, start, window.needs_transposed)

    def adapted(self, largest: int, before: int, after: int) -> "Field":
        """Return the field of the ``after`` units that adaptive pooling makes of ``before``, of ``largest`` at most."""

        def needs(out: Span) -> Span:
            return Span(out.start * before // after, -(-out.end * before // after))

        return self._made(
            self.size + (largest - 1) * self.stride, self.stride * Fraction(before, after), self.start, needs
        )

    def resized(self, step: Fraction, seen: int, middle: Fraction) -> "Field":
        """Return the field of the units of a resized map, each made of ``seen`` neighbours of these.

        Args:
            step: from the middle of one unit to that of the next one, in these.
            seen: of these, by each.
            middle: of the first.
        """

        def needs(out: Span) -> Span:
            first, last = ((middle + place * step - Fraction(seen - 1, 2)) // 1 for place in (out.start, out.end - 1))
            return Span(int(first), int(last) + seen)

        first = middle - Fraction(seen, 2) if seen > 1 else Fraction(0)
        size, start = self.size + (seen - 1) * self.stride, self.start + first * self.stride
        return self._made(size, self.stride * step, start, needs)

    def joined(self, other: "Field") -> "Field":
        """Return the field of units that see what these see and what others do."""
        if other is self:
            return self
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        depth = max(self.depth, other.depth) + 1
        return Field(end - start, max(self.stride, other.stride), start, ((self, _same), (other, _same)), depth)

    def of_all(self, count: int) -> "Field":
        """Return what ``count`` neighbours see together, as the field of units that each see all of it."""
        return self._made(self.size + (count - 1) * self.stride, Fraction(0), self.start, lambda _units: Span(0, count))

    def _made(self, size: Fraction, stride: Fraction, start: Fraction, needs: Callable[[Span], Span]) -> "Field":
        return Field(size, stride, start, ((self, needs),), self.depth + 1)


def _same(units: Span) -> Span:
    return units
