"""The windows that operators slide over maps: kernel, stride, padding, dilation, one `Window` for each side."""

from collections.abc import Sequence
from typing import cast

from striate.graph.operators import Operator, OperatorGraph
from striate.shapes import Window

CONVOLUTION = "convolution"
POOLS = {
    f"{kind}{sides}d{suffix}"
    for kind, suffix in (("max_pool", "_with_indices"), ("avg_pool", ""), ("max_pool", ""))
    for sides in (1, 2, 3)
}
ADAPTIVE = {f"_adaptive_avg_pool{sides}d" for sides in (2, 3)} | {
    f"adaptive_{kind}_pool{sides}d" for kind in ("avg", "max") for sides in (1, 2, 3)
}
PADS = {"constant_pad_nd"} | {f"{kind}_pad{sides}d" for kind in ("reflection", "replication") for sides in (1, 2, 3)}


def is_transposed(operator: Operator) -> bool:
    """Tell whether it is a transposed convolution, whose windows lie in its result, or its backward pass."""
    return bool(operator.arguments.get("transposed", False))


def find_windows(operator: Operator, graph: OperatorGraph) -> tuple[Window, ...] | None:
    """Return the windows of a convolution, a pooling, a padding or a slice, first side first; None for others.

    Padding and slicing are windows of a single place: with padding, or with less than none.
    """
    kind = operator.kind
    if kind == CONVOLUTION:
        kernel = graph.tensor(operator, "weight").shape[2:]
        return _windows(kernel, *(_numbers(operator, name) for name in ("stride", "padding", "dilation")))
    if kind in POOLS:
        kernel = _numbers(operator, "kernel_size")
        stride = _numbers(operator, "stride") or kernel
        # Rounded up, the last window may lie half outside; what it sees there is nothing.
        return _windows(kernel, stride, _numbers(operator, "padding") or (0,), _numbers(operator, "dilation") or (1,))
    if kind in ADAPTIVE:
        before, after = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
        sides = len(_numbers(operator, "output_size"))
        return tuple(_adaptive(a, b) for a, b in zip(before[-sides:], after[-sides:], strict=True))
    if kind in PADS:
        pads = _numbers(operator, "pad") or _numbers(operator, "padding")
        pairs = [(pads[place], pads[place + 1]) for place in range(0, len(pads), 2)]
        return tuple(Window(1, before=before, after=after) for before, after in reversed(pairs))
    if kind == "slice":
        return _slice(operator, graph)
    return None


def _windows(kernel: Sequence[int], *settings: Sequence[int]) -> tuple[Window, ...]:
    """Return a window for each side; one number given for all sides is each side's."""
    sides = range(len(kernel))
    stride, padding, dilation = ([given[side] if len(given) > 1 else given[0] for side in sides] for given in settings)
    return tuple(Window(kernel[side], stride[side], padding[side], padding[side], dilation[side]) for side in sides)


def _adaptive(before: int, after: int) -> Window:
    """Return the window from ⌊i · before / after⌋ to ⌈(i + 1) · before / after⌉: the largest, where they differ."""
    largest = max(-(-(place + 1) * before // after) - place * before // after for place in range(after))
    return Window(largest, max(before // after, 1))


def _slice(operator: Operator, graph: OperatorGraph) -> tuple[Window, ...] | None:
    shape = graph.tensors[operator.inputs[0]].shape
    side = cast(int, operator.arguments.get("dim", 0)) % len(shape)
    size = shape[side]
    start = min(max(cast(int | None, operator.arguments.get("start")) or 0, -size), size) % max(size, 1)
    step = cast(int, operator.arguments.get("step", 1))
    kept = graph.tensors[operator.outputs[0]].shape[side]
    if side < 2:
        return None
    window = Window(1, step, -start, (kept - 1) * step + 1 + start - size)
    return tuple(window if place == side else Window(1) for place in range(2, len(shape)))


def _numbers(operator: Operator, name: str) -> tuple[int, ...]:
    value = operator.arguments.get(name, ())
    return (value,) if isinstance(value, int) else cast(tuple[int, ...], value)
