"""Receptive fields: what of the image each unit of a map sees, followed through the operators.

A window widens the field, a stride spreads it, an addition or a concatenation joins two. What mixes all places of a
map, such as a dense layer, attention or a mean over the map, sees all that any of its units saw. The statistics that a
norm takes of a whole map are not counted, as is usual.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat

from striate.graph.operators import Operator, OperatorGraph, TensorSpec
from striate.graph.windows import find_windows, is_transposed
from striate.shapes import Field

# They leave each value at its place, or make of it what its channels say.
IN_PLACE = {
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "native_group_norm",
    "native_layer_norm", "cat", "stack", "_softmax", "_log_softmax", "mean", "sum", "amax", "copy_",
    "native_dropout", "clone", "_to_copy", "contiguous", "view", "_unsafe_view", "unsqueeze", "squeeze", "expand",
    "detach", "alias", "select", "split", "split_with_sizes", "unbind", "index_select", "empty_like", "bernoulli_",
}  # fmt: skip
RESIZING = re.compile(r"_?upsample_(nearest|linear|bilinear|trilinear|bicubic)")
TAPS = {"nearest": 1, "linear": 2, "bilinear": 2, "trilinear": 2, "bicubic": 4}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the units of a tensor see.

    Args:
        fields: for each side of the image.
        sizes: of the map; empty where every value sees the same.
    """

    fields: tuple[Field, ...]
    sizes: tuple[int, ...]

    def mixed(self) -> "Seen":
        """Return what a value made of all of them sees."""
        return Seen(tuple(f.of_all(n) for f, n in zip(self.fields, self.sizes or repeat(1), strict=False)), ())

    def joined(self, other: "Seen") -> "Seen":
        """Return what a value made of one of each sees."""
        fields = tuple(a.joined(b) for a, b in zip(self.fields, other.fields, strict=True))
        return Seen(fields, self.sizes or other.sizes)


def receptive_fields(graph: OperatorGraph) -> dict[int, Seen]:
    """Return what the units of each tensor of the forward pass see of the image, by tensor index.

    Tensors that do not depend on it, such as weights, are left out.
    """
    if graph.image is None:
        return {}
    sizes = graph.tensors[graph.image].shape[2:]
    seen = {graph.image: Seen((Field(),) * len(sizes), sizes)}
    for operator in graph.operators:
        known = [seen[index] for index in operator.inputs if index in seen]
        if known:
            for index in operator.outputs:
                seen[index] = _through(operator, graph, known, graph.tensors[index])
    return seen


def _through(operator: Operator, graph: OperatorGraph, known: list[Seen], out: TensorSpec) -> Seen:
    first, sides = known[0], len(known[0].fields)
    sizes = out.shape[-sides:] if len(out.shape) > sides else ()
    if not first.sizes and len(known) == 1:
        return first
    windows = find_windows(operator, graph)
    if windows is not None and first.sizes and len(windows) >= sides:
        last = windows[-sides:]
        step = Field.under_transposed if is_transposed(operator) else Field.under
        return Seen(tuple(step(f, w) for f, w in zip(first.fields, last, strict=True)), sizes)
    if windows is not None and len(windows) < sides:  # Padding of the last sides alone.
        rest = first.fields[: sides - len(windows)]
        return Seen(rest + tuple(f.under(w) for f, w in zip(first.fields[len(rest) :], windows, strict=True)), sizes)
    taps = _taps(operator)
    if taps is not None and first.sizes:
        resized = zip(first.fields, first.sizes, sizes, strict=True)
        return Seen(tuple(f.resized(Fraction(b, a), taps if a != b else 1) for f, a, b in resized), sizes)
    if operator.pointwise or (operator.kind in IN_PLACE and all(s.sizes in ((), sizes) for s in known)):
        together = known[0]
        for other in known[1:]:
            together = together.joined(other)
        return together
    together = known[0].mixed()
    for other in known[1:]:
        together = together.joined(other.mixed())
    return together


def _taps(operator: Operator) -> int | None:
    """Return how many neighbours on a side an interpolation takes, where it is one."""
    mode = RESIZING.match(operator.kind)
    return None if mode is None else TAPS[mode[1]]
