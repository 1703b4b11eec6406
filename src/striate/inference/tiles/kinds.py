"""The kinds of operators that make the same of a part of a map as of the whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from striate.graph.operators import Operator, OperatorGraph
from striate.graph.windows import CONVOLUTION, find_windows, is_transposed
from striate.inference.tiles.steps import Part, Region, Step, Values, call, whole, whole_value
from striate.inference.tiles.taps import Taps, mirrored, resizing, sliced
from striate.shapes import Span, Window


class _Alike(Step):
    """What does the same at each place: activations, sums, norms with fixed statistics, channels put together."""

    def needs(self, out: Region) -> Region:
        return out

    def run(self, values: Values, out: Region) -> tuple[Any, ...]:
        size = self.shape(self.operator.outputs[0])[-2:]

        def cut(index: int) -> Tensor:
            value = values[index]
            if isinstance(value, Part):
                return value.cut(out)
            # Each side of what is there whole is that of the map, or 1; of a norm's numbers, none is.
            if self.operator.pointwise or self.operator.kind in ("cat", "stack", "copy_"):
                for dim, (side, span) in enumerate(zip(size, out, strict=True), -2):
                    if value.ndim >= -dim and value.shape[dim] == side > 1:
                        value = value.narrow(dim, span.start, span.size)
            return value

        return _outputs(call(self.operator, cut))


class _Reshaped(Step):
    """A map with its other sides cut up or spread, each place where it was."""

    def needs(self, out: Region) -> Region:
        return out

    def run(self, values: Values, out: Region) -> tuple[Any, ...]:
        shape = (*self.shape(self.operator.outputs[0])[:-2], *out.size)
        given = self.cut(values, out)
        return (given.expand(shape) if self.operator.kind == "expand" else given.reshape(shape),)


@dataclass(frozen=True, slots=True)
class _Windowed(Step):
    """A convolution, a pooling or a constant edge.

    Args:
        windows: down and across.
    """

    windows: tuple[Window, Window]

    def needs(self, out: Region) -> Region:
        return Region(*(window.needs(span) for window, span in zip(self.windows, out, strict=True)))

    def edges(self, out: Region) -> list[tuple[int, int]]:
        """Return how many places ahead of the map and behind it a part of the result needs, for rows and columns."""
        wanted, shape = self.needs(out), self.shape(self.maps[0])
        there = wanted.clipped(shape)
        return [(is_.start - asked.start, asked.end - is_.end) for is_, asked in zip(there, wanted, strict=True)]

    def copies(self, out: Region) -> bool:
        """Tell whether an edge has to be filled up."""
        return any(edge > 0 for pair in self.edges(out) for edge in pair)

    def filled(self, values: Values, out: Region, level: float) -> Tensor:
        """Return what a part of the result needs, with ``level`` beyond the edges."""
        rows, columns = self.edges(out)
        given = self.cut(values, self.needs(out))
        edges = (*columns, *rows)
        if any(edges):
            given = F.pad(given, [max(edge, 0) for edge in edges], value=level)
        if min(edges) < 0:  # Of a part beyond the edge, the nearest place was taken along.
            given = F.pad(given, [min(edge, 0) for edge in edges])
        return given

    def called(self, values: Values, given: Tensor, **changed: object) -> tuple[Any, ...]:
        """Return what the operator makes of ``given`` in place of its map, with other arguments than it had."""
        (map_,) = self.maps

        def value(index: int) -> Tensor:
            return given if index == map_ else whole_value(values, index)

        return _outputs(call(self.operator, value, **changed))


class _Convolved(_Windowed):
    """A convolution."""

    def run(self, values: Values, out: Region) -> tuple[Any, ...]:
        edges = self.edges(out)
        is_even = all(ahead == behind >= 0 for ahead, behind in edges)  # It can add that itself.
        given = self.cut(values, self.needs(out)) if is_even else self.filled(values, out, 0.0)
        return self.called(values, given, padding=tuple(ahead if is_even else 0 for ahead, _ in edges))


class _Transposed(_Windowed):
    """A transposed convolution, each place of which becomes a window of the result."""

    def needs(self, out: Region) -> Region:
        return Region(*(window.needs_transposed(span) for window, span in zip(self.windows, out, strict=True)))

    def run(self, values: Values, out: Region) -> tuple[Any, ...]:
        (made,) = self.called(values, self.filled(values, out, 0.0), padding=(0, 0), output_padding=(0, 0))
        # Of the result, the first value lies where the first place's window begins.
        begins = (
            span.start * window.stride - window.before
            for span, window in zip(self.needs(out), self.windows, strict=True)
        )
        rows, columns = (span.moved(-begin) for span, begin in zip(out, begins, strict=True))
        return (made[..., rows.start : rows.end, columns.start : columns.end],)


class _MaxPooled(_Windowed):
    """The largest value in each window."""

    def run(self, values: Values, out: Region) -> tuple[Any, ...]:
        return self.called(values, self.filled(values, out, float("-inf")), padding=(0, 0), ceil_mode=False)


class _AvgPooled(_Windowed):
    """The mean of each window."""

    def run(self, values: Values, out: Region) -> tuple[Any, ...]:
        once: dict[str, object] = {"padding": (0, 0), "ceil_mode": False, "divisor_override": 1}
        (sums,) = self.called(values, self.filled(values, out, 0.0), **once)
        rows, columns = (self._counts(side, span).to(sums) for side, span in enumerate(out))
        return (sums / (rows[:, None] * columns),)

    def _counts(self, side: int, out: Span) -> Tensor:
        """Return by how many values each window's sum is divided, along one side."""
        window, size = self.windows[side], self.shape(self.maps[0])[side - 2]
        divisor = cast(int | None, self.operator.arguments.get("divisor_override"))
        starts = torch.arange(out.start, out.end) * window.stride - window.before
        if divisor is not None:
            return torch.full_like(starts, divisor if side == 0 else 1)
        padded = (starts + window.kernel).clamp(max=size + window.before)
        if self.operator.arguments.get("count_include_pad", True):
            return padded - starts
        return padded.clamp(max=size) - starts.clamp(min=0)


class _Padded(_Windowed):
    """A map with a constant around it, or with less than its edges."""

    def run(self, values: Values, out: Region) -> tuple[Any, ...]:
        level = self.operator.arguments.get("value", 0.0)
        return (self.filled(values, out, float(cast(float, level))),)


@dataclass(frozen=True, slots=True)
class _Tapped(Step):
    """A map that is resized, continued by itself, or of which some rows and columns are taken out.

    Args:
        taps: down and across.
    """

    taps: tuple[Taps, Taps]

    def needs(self, out: Region) -> Region:
        return Region(*(taps.needs(span) for taps, span in zip(self.taps, out, strict=True)))

    def run(self, values: Values, out: Region) -> tuple[Any, ...]:
        needed = self.needs(out)
        source = self.operator.inputs[0]
        given = values[source]
        made = given.cut(needed) if isinstance(given, Part) else given
        at = needed if isinstance(given, Part) else whole(given.shape)
        for dim, taps, there, span in zip((-2, -1), self.taps, at, out, strict=True):
            made = taps.apply(made, made.ndim + dim, there, span)
        return (made,)


def _outputs(made: Any) -> tuple[Any, ...]:
    return tuple(made) if isinstance(made, tuple | list) else (made,)


# They do the same at each place, as long as the dimensions that they name are none of the image's.
ALONG = {
    "cat": "dim", "stack": "dim", "split": "dim", "split_with_sizes": "dim", "unsqueeze": "dim", "squeeze": "dim",
    "select": "dim", "unbind": "dim", "index_select": "dim", "slice": "dim", "_softmax": "dim", "_log_softmax": "dim",
    "sum": "dim", "mean": "dim", "amax": "dim", "amin": "dim", "max": "dim", "min": "dim", "argmax": "dim",
    "argmin": "dim", "var": "dim", "std": "dim", "linalg_vector_norm": "dim", "cumsum": "dim", "flip": "dims",
    "permute": "dims", "transpose": ("dim0", "dim1"), "glu": "dim",
}  # fmt: skip
NORMS = {"native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"}
COPIES = {"clone", "_to_copy", "contiguous", "detach", "alias", "copy_", "lift_fresh", "native_channel_shuffle"}
ADDS_DIM = ("unsqueeze", "stack")
POOLS = {"max_pool2d_with_indices": _MaxPooled, "max_pool2d": _MaxPooled, "avg_pool2d": _AvgPooled}


def find_step(operator: Operator, graph: OperatorGraph, maps: tuple[int, ...]) -> Step | None:
    """Return how an operator runs on parts of maps; None for one that has to see them whole.

    Args:
        operator: of the graph.
        graph: of the network on the whole image.
        maps: indices of the maps among its inputs; none for one that may make a map of what is there whole.
    """
    given: tuple[Operator, OperatorGraph, tuple[int, ...]] = (operator, graph, maps)
    first = operator.inputs[0] if operator.inputs else None
    if first is None:
        return None
    shape, out = graph.tensors[first].shape, graph.tensors[operator.outputs[0]].shape
    taps = [_taps(operator, shape, out, side) for side in (0, 1)] if len(shape) >= 3 and len(out) >= 3 else []
    if len(taps) == 2 and taps[0] is not None and taps[1] is not None and (maps or operator.kind != "slice"):
        return _Tapped(*given, (taps[0], taps[1]))
    if not maps:
        return None
    if _is_alike(operator, graph, maps):
        return _Alike(*given)
    if operator.kind in ("view", "_unsafe_view", "reshape", "expand"):
        return _Reshaped(*given) if shape[-2:] == out[-2:] and len(out) > 2 else None
    windows = find_windows(operator, graph) if maps == (first,) else None
    if windows is None or len(windows) < 2:
        return None
    sides = (windows[-2], windows[-1])
    if all(window == Window(1) for window in sides):
        return _Alike(*given)  # Along channels alone.
    if any(window != Window(1) for window in windows[:-2]):
        return None
    if operator.kind == CONVOLUTION and len(windows) == 2:
        return _Transposed(*given, sides) if is_transposed(operator) else _Convolved(*given, sides)
    pool = POOLS.get(operator.kind)
    if pool is not None and any(other in reader.inputs for other in operator.outputs[1:] for reader in graph.operators):
        return None  # Places of the largest values count from the beginning of the whole map.
    if operator.kind == "constant_pad_nd":
        return _Padded(*given, sides)
    return None if pool is None else pool(*given, sides)


def _taps(operator: Operator, shape: tuple[int, ...], out: tuple[int, ...], side: int) -> Taps | None:
    before, after = shape[side - 2], out[side - 2]
    if operator.kind == "slice":
        dim = cast(int, operator.arguments.get("dim", 0)) % len(shape)
        return sliced(operator, shape, after, side) if dim >= len(shape) - 2 else None
    return resizing(operator, before, after, side) or mirrored(operator, before, side)


def _is_alike(operator: Operator, graph: OperatorGraph, maps: tuple[int, ...]) -> bool:
    kind, out = operator.kind, graph.tensors[operator.outputs[0]].shape
    if operator.random:
        return False
    if operator.pointwise or kind in COPIES:
        return all(graph.tensors[index].shape[-2:] == out[-2:] for index in maps)
    if kind in NORMS:
        return not operator.arguments.get("training", False)
    if kind not in ALONG:
        return False
    names = ALONG[kind]
    sides = len(graph.tensors[maps[0]].shape) + (kind in ADDS_DIM)
    usual = 0 if kind in ("cat", "stack", "split", "split_with_sizes", "unbind", "slice") else None
    dims: list[int] = []
    for name in (names,) if isinstance(names, str) else names:
        value = operator.arguments.get(name, usual)
        if value is None or value == ():
            return False
        dims += [value] if isinstance(value, int) else cast(Sequence[int], value)
    dims = [dim % sides for dim in dims]
    if kind == "permute":
        return dims[-2:] == [sides - 2, sides - 1]
    return max(dims) < sides - 2 and min(len(graph.tensors[index].shape) for index in operator.outputs) >= 2
