"""Receptive fields: what of the image each unit of a map sees, followed through the operators.

A window widens the field, a stride spreads it, an addition or a concatenation joins two; which dimension of a tensor is
which side of the image is followed through views and permutations. What mixes all places of a map, such as a dense
layer, attention or a mean over the map, sees all that any of its units saw; so does what an operator that is not known
here makes. The statistics that a norm takes of a whole map are not counted, as is usual.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, prod
from typing import cast

from striate.graph.operators import Operator, OperatorGraph, Phase, TensorSpec
from striate.graph.windows import ADAPTIVE, find_windows, is_transposed
from striate.shapes import Field, Window

Rule = Callable[[Operator, "Seen", tuple[int, ...], tuple[int, ...]], "Seen | None"]

# They leave each value at its place, or make of it what its channels say.
IN_PLACE = {
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "native_group_norm",
    "native_layer_norm", "native_dropout", "clone", "_to_copy", "contiguous", "detach", "alias", "copy_",
    "rrelu_with_noise", "bernoulli_", "channel_shuffle", "native_channel_shuffle", "cat", "split", "split_with_sizes",
    "index_select", "expand", "slice",
}  # fmt: skip
REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "var", "std", "_softmax", "_log_softmax", "cumsum"}
MAKES = re.compile(r"new_|\w+_like$|bernoulli$")  # Of another tensor they take the shape alone.
RESIZING = re.compile(r"_?upsample_(nearest|linear|bilinear|trilinear|bicubic)")
NEIGHBOURS = {"nearest": 1, "linear": 2, "bilinear": 2, "trilinear": 2, "bicubic": 4}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the units of a tensor see.

    Args:
        fields: for each side of the image.
        dims: which of the tensor's dimensions each side is; None where all see the same along it.
        rows: shape of the dimensions that lie together in the first, as those of a dense layer's input do; else empty.
    """

    fields: tuple[Field, ...]
    dims: tuple[int | None, ...]
    rows: tuple[int, ...] = ()

    def mixed(self, shape: tuple[int, ...], which: tuple[int, ...] | None = None) -> "Seen":
        """Return what values see that are made of all along some of a tensor's dimensions; by default, along all."""
        sizes = self.rows or shape
        fields, dims = list(self.fields), list(self.dims)
        for side, dim in enumerate(self.dims):
            if dim is not None and (which is None or dim in which):
                fields[side], dims[side] = fields[side].of_all(sizes[dim]), None
        return Seen(tuple(fields), tuple(dims), self.rows if any(dim is not None for dim in dims) else ())

    def joined(self, other: "Seen") -> "Seen":
        """Return what a value made of one of each sees."""
        fields = tuple(a.joined(b) for a, b in zip(self.fields, other.fields, strict=True))
        dims = tuple(b if a is None else a for a, b in zip(self.dims, other.dims, strict=True))
        return Seen(fields, dims, self.rows or other.rows)

    def moved(self, to: Callable[[int], int | None]) -> "Seen":
        """Return the same of a tensor with other dimensions."""
        return replace(self, dims=tuple(None if dim is None else to(dim) for dim in self.dims))


class Fields:
    """What the units of each tensor of the forward pass see of the image.

    Tensors that do not depend on it, such as weights, see nothing. A tensor that is changed in place sees one thing
    before and another after.
    """

    def __init__(self, graph: OperatorGraph) -> None:
        self._changes: dict[int, list[tuple[int, Seen]]] = {}
        if graph.image is None:
            return
        shape = graph.tensors[graph.image].shape
        sides = range(2, len(shape))
        self._changes[graph.image] = [(-1, Seen((Field(),) * len(sides), tuple(sides)))]
        for index, operator in enumerate(graph.operators):
            if operator.phase is not Phase.FORWARD or MAKES.match(operator.kind):
                continue
            known = [(tensor, seen) for tensor in operator.inputs if (seen := self.of(tensor, index)) is not None]
            if known:
                for tensor in operator.outputs:
                    seen = _through(operator, graph, known, graph.tensors[tensor])
                    known_dims = len(seen.rows or graph.tensors[tensor].shape)
                    if any(dim is not None and dim >= known_dims for dim in seen.dims):
                        seen = seen.mixed(graph.tensors[known[0][0]].shape)  # Such as the mean that a norm gives too.
                    self._changes.setdefault(tensor, []).append((index, seen))

    def of(self, tensor: int, after: int) -> Seen | None:
        """Return what the units of a tensor see after an operator has run."""
        changes = self._changes.get(tensor, [])
        place = bisect_right(changes, after, key=lambda change: change[0])
        return changes[place - 1][1] if place else None


def _through(operator: Operator, graph: OperatorGraph, known: list[tuple[int, Seen]], out: TensorSpec) -> Seen:
    tensor, first = known[0]
    shape = graph.tensors[tensor].shape
    if len(known) == 1 and all(dim is None for dim in first.dims):
        return first
    if operator.pointwise or operator.kind in IN_PLACE:
        moved = [_aligned(graph, index, seen, out) for index, seen in known]
        if operator.kind == "slice":
            return _windowed(operator, graph, first, shape) or first
        if operator.kind == "cat" and cast(int, operator.arguments.get("dim", 0)) % len(out.shape) in first.dims:
            moved = [seen.mixed(graph.tensors[index].shape) for index, seen in known]
        together = moved[0]
        for other in moved[1:]:
            together = together.joined(other)
        return together
    rule = _MOVES.get(operator.kind)
    found = None
    if rule is not None and len(known) == 1:
        found = rule(operator, first, shape, out.shape)
    elif operator.kind in REDUCTIONS and len(known) == 1:
        found = _reduced(operator, first, shape, out.shape)
    elif operator.kind in ("mm", "addmm"):
        # Each row of the first matrix is made into one of the result.
        found = first if first.rows and tensor == operator.inputs[-2] else None
    else:
        found = _resized(operator, first, shape, out.shape) or _windowed(operator, graph, first, shape)
    if found is not None:
        return found
    together = first.mixed(shape)
    for index, other in known[1:]:
        together = together.joined(other.mixed(graph.tensors[index].shape))
    return replace(together, rows=())


def _aligned(graph: OperatorGraph, tensor: int, seen: Seen, out: TensorSpec) -> Seen:
    """Return what a term sees, in the dimensions of a result that it is spread over."""
    shape = graph.tensors[tensor].shape
    more = len(out.shape) - len(shape)
    if more >= 0 and not seen.rows:
        seen = seen.mixed(shape, tuple(dim for dim, size in enumerate(shape) if size == 1 < out.shape[dim + more]))
    return seen.moved(lambda dim: dim + more) if more else seen


def _windowed(operator: Operator, graph: OperatorGraph, seen: Seen, shape: tuple[int, ...]) -> Seen | None:
    """Slide windows over the last dimensions."""
    windows = find_windows(operator, graph)
    if windows is None or seen.rows:
        return None
    fields = list(seen.fields)
    for place, window in enumerate(windows, len(shape) - len(windows)):
        if window == Window(1):
            continue
        if place not in seen.dims:  # Along what is no side of the image, or where all see the same.
            continue
        side = seen.dims.index(place)
        if operator.kind in ADAPTIVE:
            out = graph.tensors[operator.outputs[0]].shape[place]
            fields[side] = fields[side].adapted(window.kernel, shape[place], out)
        else:
            step = Field.under_transposed if is_transposed(operator) else Field.under
            fields[side] = step(fields[side], window)
    return replace(seen, fields=tuple(fields))


def _resized(operator: Operator, seen: Seen, shape: tuple[int, ...], out: tuple[int, ...]) -> Seen | None:
    mode = RESIZING.match(operator.kind)
    fields = list(seen.fields)
    if mode is None:
        return None
    for side, dim in enumerate(seen.dims):
        if dim is not None and shape[dim] != out[dim]:
            step, taken = Fraction(shape[dim], out[dim]), NEIGHBOURS[mode[1]]
            if operator.kind.endswith("_aa") and step > 1:  # It looks at all that it makes one of.
                taken = ceil(taken * step) + 1
            middle = step / 2 if taken > 1 else Fraction(0)
            if operator.arguments.get("align_corners"):
                step, middle = Fraction(shape[dim] - 1, max(out[dim] - 1, 1)), Fraction(1, 2)
            fields[side] = fields[side].resized(step, taken, middle)
    return replace(seen, fields=tuple(fields))


def _viewed(_operator: Operator, seen: Seen, shape: tuple[int, ...], out: tuple[int, ...]) -> Seen | None:
    """Find each side again in another shape: as many values before it, and as many along it."""
    if seen.rows:
        back = len(out) > 2 and out[: len(seen.rows)] == seen.rows
        return replace(seen, rows=()) if back else None
    if len(out) == 2 and out[0] == prod(shape[:-1]) and len(shape) - 1 not in seen.dims:
        return replace(seen, rows=shape[:-1])
    places = {(prod(out[:dim]), out[dim]): dim for dim in range(len(out)) if out[dim] > 1}
    dims = [None if dim is None else places.get((prod(shape[:dim]), shape[dim])) for dim in seen.dims]
    if any(new is None and old is not None and shape[old] > 1 for new, old in zip(dims, seen.dims, strict=True)):
        return None
    return replace(seen, dims=tuple(dims))


def _permuted(operator: Operator, seen: Seen, shape: tuple[int, ...], _out: tuple[int, ...]) -> Seen | None:
    if seen.rows:
        return None
    order = list(range(len(shape)))
    if operator.kind == "permute":
        order = [dim % len(shape) for dim in cast(tuple[int, ...], operator.arguments["dims"])]
    else:
        one, other = (cast(int, operator.arguments.get(name, d)) % len(shape) for name, d in (("dim0", 0), ("dim1", 1)))
        order[one], order[other] = order[other], order[one]
    return seen.moved(order.index)


def _unsqueezed(operator: Operator, seen: Seen, shape: tuple[int, ...], _out: tuple[int, ...]) -> Seen:
    added = cast(int, operator.arguments["dim"]) % (len(shape) + 1)
    return seen.moved(lambda dim: dim + (dim >= added))


def _selected(operator: Operator, seen: Seen, shape: tuple[int, ...], out: tuple[int, ...]) -> Seen:
    """Leave out dimensions: a chosen place, a single one, or all that are taken apart."""
    chosen = operator.arguments.get("dim", range(len(shape)))
    gone = {dim % len(shape) for dim in ([chosen] if isinstance(chosen, int) else cast(tuple[int, ...], chosen))}
    if operator.kind == "squeeze":
        gone = {dim for dim in gone if shape[dim] == 1}
    else:
        seen = seen.mixed(shape, tuple(gone))
    return seen.moved(lambda dim: None if dim in gone else dim - sum(other < dim for other in gone))


def _reduced(operator: Operator, seen: Seen, shape: tuple[int, ...], out: tuple[int, ...]) -> Seen:
    given = operator.arguments.get("dim")
    if given is None or given == ():
        return seen.mixed(shape)
    dims = tuple(dim % len(shape) for dim in ((given,) if isinstance(given, int) else cast(tuple[int, ...], given)))
    seen = seen.mixed(shape, dims)
    if len(out) == len(shape):
        return seen
    return seen.moved(lambda dim: dim - sum(other < dim for other in dims))


def _shuffled(operator: Operator, seen: Seen, shape: tuple[int, ...], _out: tuple[int, ...]) -> Seen:
    """Deal channels out to places, or places to channels."""
    factor = cast(int, operator.arguments.get("upscale_factor") or operator.arguments.get("downscale_factor"))
    if operator.kind == "pixel_shuffle":
        fields = [field.resized(Fraction(1, factor), 1, Fraction(0)) for field in seen.fields]
    else:
        fields = [field.under(Window(factor, factor)) for field in seen.fields]
    return replace(seen, fields=tuple(fields))


_MOVES: dict[str, Rule] = {
    "view": _viewed,
    "_unsafe_view": _viewed,
    "permute": _permuted,
    "transpose": _permuted,
    "t": _permuted,
    "unsqueeze": _unsqueezed,
    "squeeze": _selected,
    "select": _selected,
    "unbind": _selected,
    "pixel_shuffle": _shuffled,
    "pixel_unshuffle": _shuffled,
}
