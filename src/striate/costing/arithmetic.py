"""How a layer's numbers come about, written out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from torch import nn

from striate.costing.compute import Products, count, written
from striate.costing.forward import Layer
from striate.graph.operators import Operator, OperatorGraph
from striate.graph.windows import CONVOLUTION, find_windows, is_transposed
from striate.shapes import Field, Window


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a layer's numbers come about; each empty where there is nothing to count.

    Args:
        parameters: such as ``(3·3·3 + 1)·100 = 2,800``.
        output: sizes of the maps, such as ``⌈300/8⌉ = 38``.
        macs: multiply-adds forward.
        activation: bytes of the output.
        columns: bytes of a convolution's windows, written out as columns.
        dense: the weights of a dense layer in place of a convolution.
    """

    parameters: str = ""
    output: str = ""
    macs: str = ""
    activation: str = ""
    columns: str = ""
    dense: str = ""

    def __str__(self) -> str:
        parts = (
            (self.parameters, "parameters"),
            (self.output, ""),
            (self.macs, "multiply-adds"),
            (self.activation, "bytes out"),
            (self.columns, "bytes as columns"),
            (self.dense, ""),
        )
        return "; ".join(f"{text} {what}".strip() for text, what in parts if text)


def explain(
    network: nn.Module,
    graph: OperatorGraph,
    layer: Layer,
    products: Products,
    columns: tuple[int, ...],
    fields: Sequence[Field],
) -> Arithmetic:
    """Write out how a layer's numbers come about; multiply-adds and the largest columns are given as factors."""
    output = None if layer.output is None else graph.tensors[layer.output]
    activation = ""
    if output is not None and output.shape and not layer.shares:
        activation = _equation([(*output.shape[1:], output.itemsize, output.shape[0])])
    return Arithmetic(
        parameters=_parameters(network, layer),
        output=_sizes(graph, layer, fields),
        macs=_equation(products) if products else "",
        activation=activation,
        columns=f"{written([columns])} = {prod(columns):,}" if columns else "",
        dense=_as_dense(graph, layer),
    )


def _equation(products: Sequence[tuple[int, ...]]) -> str:
    """Write a sum of products and what it gives, without the factor of a batch of one."""
    shown = [factors[:-1] if factors[-1] == 1 else factors for factors in products]
    return f"{written(shown)} = {count(tuple(products)):,}"


def _parameters(network: nn.Module, layer: Layer) -> str:
    if not layer.parameters:
        return ""
    module = network.get_submodule(layer.name)
    own = [f"{layer.name}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)]
    tensors = [network.get_parameter(name) for name in layer.parameters]
    # A weight that is computed from others is no parameter, and the rules do not know of that.
    is_plain = sorted(own) == sorted(layer.parameters) and "weight" in dict(module.named_parameters(recurse=False))
    account = parameter_arithmetic(module) if is_plain else _sum_of(tensors)
    return f"{account} = {sum(tensor.numel() for tensor in tensors):,}"


def parameter_arithmetic(module: nn.Module) -> str:
    """Return how a layer's parameter count comes about, such as ``(5·5·1 + 1)·6`` for a convolution.

    Every factor is read from the layer's settings, not from its tensors, so that it is an account and not an echo.
    A kind of layer without a rule of its own is given as the sum of its tensors.
    """
    for kinds, rule in _RULES:
        if isinstance(module, kinds):
            return rule(module)
    return _sum_of(list(module.parameters(recurse=False)))


def _sum_of(tensors: Sequence[nn.Parameter]) -> str:
    return " + ".join("·".join(str(side) for side in tensor.shape) or "1" for tensor in tensors)


def _convolution(module: Any) -> str:
    window = "·".join(str(side) for side in module.kernel_size)
    into = str(module.in_channels) if module.groups == 1 else f"{module.in_channels}/{module.groups}"
    return _with_bias(f"{window}·{into}", module.bias is not None, module.out_channels)


def _transposed(module: Any) -> str:
    window = "·".join(str(side) for side in module.kernel_size)
    out = str(module.out_channels) if module.groups == 1 else f"{module.out_channels}/{module.groups}"
    weights = f"{window}·{module.in_channels}·{out}"
    return f"{weights} + {module.out_channels}" if module.bias is not None else weights


def _dense(module: Any) -> str:
    return _with_bias(f"{module.in_features}", module.bias is not None, module.out_features)


def _norm(module: Any) -> str:
    return f"2·{module.num_features}"


def _with_bias(weights: str, bias: bool, out: int) -> str:
    return f"({weights} + 1)·{out}" if bias else f"{weights}·{out}"


_RULES: list[tuple[Any, Callable[[Any], str]]] = [
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    (nn.Linear, _dense),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _norm),
]


def _sizes(graph: OperatorGraph, layer: Layer, fields: Sequence[Field]) -> str:
    """Write out how the sizes of a layer's maps come about, where it slides one window over them."""
    sliding = [graph.operators[index] for index in layer.operators]
    sliding = [operator for operator in sliding if find_windows(operator, graph)]
    if not sliding or layer.output is None:
        return ""
    *pads, last = sliding
    windows = find_windows(last, graph)
    assert windows is not None
    for pad in pads:
        padding = find_windows(pad, graph)
        if (
            padding is None
            or len(padding) != len(windows)
            or any(side.kernel > 1 or side.stride > 1 for side in padding)
        ):
            return ""
        windows = tuple(_padded(window, side) for window, side in zip(windows, padding, strict=True))
    before = graph.tensors[sliding[0].inputs[0]].shape[-len(windows) :]
    after = graph.tensors[layer.output].shape[-len(windows) :]
    if is_transposed(last):
        texts = [_transposed_size(w, a, b) for w, a, b in zip(windows, before, after, strict=True)]
    else:
        whole = _whole(graph, fields, len(windows))
        texts = [_size(w, a, b, i) for w, a, b, i in zip(windows, before, after, whole, strict=True)]
    return ", ".join(dict.fromkeys(text for text in texts if text))


def _padded(window: Window, padding: Window) -> Window:
    return Window(
        window.kernel,
        window.stride,
        window.before + padding.before,
        window.after + padding.after,
        window.dilation,
    )


def _whole(graph: OperatorGraph, fields: Sequence[Field], sides: int) -> list[tuple[int, Fraction]]:
    """Return the image's size along each side, and how many of its pixels lie between two units of the output."""
    image = () if graph.image is None else graph.tensors[graph.image].shape[2:]
    if len(fields) != sides or len(image) != sides:
        return [(0, Fraction(0))] * sides
    return [(size, side.stride) for size, side in zip(image, fields, strict=True)]


def _size(window: Window, before: int, after: int, whole: tuple[int, Fraction]) -> str:
    if before == after:
        return ""
    image, stride = whole
    if stride >= 1 and -(-image // stride) == after and after == -(-before // window.stride):
        return f"⌈{image}/{stride}⌉ = {after}"
    if after == -(-before // window.stride):
        return f"⌈{before}/{window.stride}⌉ = {after}"
    padding = f" + {window.before} + {window.after}" if window.before or window.after else ""
    inside = f"{before}{padding} - {window.span}"
    if window.stride == 1:
        return f"{inside} + 1 = {after}"
    left, right = ("⌊", "⌋") if window.out(before) == after else ("⌈", "⌉")
    return f"{left}({inside})/{window.stride}{right} + 1 = {after}"


def _transposed_size(window: Window, before: int, after: int) -> str:
    grown = (before - 1) * window.stride - window.before - window.after + window.span
    padding = f" - {window.before} - {window.after}" if window.before or window.after else ""
    more = f" + {after - grown}" if after > grown else ""
    return f"({before} - 1)·{window.stride}{padding} + {window.span}{more} = {after}"


def _as_dense(graph: OperatorGraph, layer: Layer) -> str:
    """Say what a dense layer in place of a convolution would hold, all values in to all values out."""
    found = [graph.operators[index] for index in layer.operators]
    convolutions = [operator for operator in found if operator.kind == CONVOLUTION and not is_transposed(operator)]
    if len(convolutions) != 1:
        return ""
    return _dense_weights(convolutions[0], graph)


def _dense_weights(operator: Operator, graph: OperatorGraph) -> str:
    into, (_, maps, *places) = graph.tensor(operator, "input").shape[1:], graph.tensors[operator.outputs[0]].shape
    one = prod(into) * prod(places)
    return (
        f"as a dense layer: {written([(*into, *places)])} = {one:,} weights for one map, {maps * one:,} for all {maps}"
    )
