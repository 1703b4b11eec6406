"""Operators on parts of maps: which part of what goes in a part of what comes out needs, and how it is made of that.

A map is a tensor whose last two sides are the image's. A part of one is the rows and columns of a rectangle. Each kind
of operator that makes the same of a part as of the whole is a `Step` (see `striate.inference.tiles.kinds`); for all
others the whole map is put together first (see `striate.inference.tiles.passes`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from striate.graph.operators import Operator, OperatorGraph, TensorIndex
from striate.shapes import Span


class Region(NamedTuple):
    """A rectangle of a map."""

    rows: Span
    columns: Span

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.rows.size, self.columns.size

    def joined(self, other: "Region") -> "Region":
        """Return the smallest rectangle that holds both."""
        return Region(self.rows.joined(other.rows), self.columns.joined(other.columns))

    def clipped(self, shape: Sequence[int]) -> "Region":
        """Return what of it lies on a map of that shape."""
        return Region(self.rows.clipped(shape[-2]), self.columns.clipped(shape[-1]))


def whole(shape: Sequence[int]) -> Region:
    """Return all of a map of that shape."""
    return Region(Span(0, shape[-2]), Span(0, shape[-1]))


class Part(NamedTuple):
    """Part of a map, and which one it is."""

    tensor: Tensor
    region: Region

    def cut(self, region: Region) -> Tensor:
        """Return a part of this part."""
        rows, columns = (span.moved(-mine.start) for span, mine in zip(region, self.region, strict=True))
        return self.tensor[..., rows.start : rows.end, columns.start : columns.end]


Value = Tensor | Part
Values = Mapping[int, Value]


def call(operator: Operator, values: Callable[[int], Tensor], **changed: object) -> Any:
    """Run an operator of torch's dispatcher again.

    Args:
        operator: as it was recorded.
        values: of the tensors among its arguments, by their index.
        changed: arguments that are to be others than they were.
    """
    namespace, name, overload = operator.name.split(".")
    run = getattr(getattr(getattr(torch.ops, namespace), name), overload)
    return run(**{name: _bound(value, values) for name, value in (operator.arguments | changed).items()})


def _bound(value: object, values: Callable[[int], Tensor]) -> object:
    match value:
        case TensorIndex(index):
            return values(index)
        case tuple():
            return [_bound(part, values) for part in value]
        case str() if value.startswith("torch."):
            return getattr(torch, value.removeprefix("torch."))
    return value


@dataclass(frozen=True, slots=True)
class Step(ABC):
    """An operator on parts of maps.

    Args:
        operator: what runs.
        graph: of the network on the whole image.
        maps: indices of the maps among its inputs; its other inputs are there whole.
    """

    operator: Operator
    graph: OperatorGraph
    maps: tuple[int, ...]

    @abstractmethod
    def needs(self, out: Region) -> Region:
        """Return which part of its maps a part of the result needs; it may go beyond their edges."""

    @abstractmethod
    def run(self, values: Values, out: Region) -> tuple[Any, ...]:
        """Return that part of what it makes."""

    def copies(self, out: Region) -> bool:
        """Tell whether it makes a copy of what it needs, to fill it up at an edge."""
        return False

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return the shape that a tensor has on the whole image."""
        return self.graph.tensors[tensor].shape

    def cut(self, values: Values, region: Region) -> Tensor:
        """Return a part of its only map; what is beyond the edge is left out."""
        part = values[self.maps[0]]
        assert isinstance(part, Part)
        return part.cut(region.clipped(self.shape(self.maps[0])))


def whole_value(values: Values, index: int) -> Tensor:
    """Return a tensor that is no map."""
    value = values[index]
    assert isinstance(value, Tensor)
    return value
