"""The table of a network's layers: what comes out of each, what it takes and sees, and how each number comes about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from inspect import signature
from itertools import groupby
from math import prod

import torch
from torch import nn

from striate.costing.arithmetic import Arithmetic, explain
from striate.costing.compute import Products, count, multiply_adds
from striate.costing.fields import Fields
from striate.costing.forward import Layer, find_layers
from striate.errors import UsageError
from striate.graph.operators import Operator, OperatorGraph, Phase
from striate.graph.programs import Inference
from striate.graph.trace import trace
from striate.graph.windows import CONVOLUTION, is_transposed


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer of a network.

    Args:
        name: its path in the network.
        kind: what operation it is.
        output_shape: of one image's output, without the batch; empty for a layer that does not run.
        parameters: trained numbers that it is the first to use.
        macs: multiply-adds forward, of the whole batch.
        backward_macs: multiply-adds backward, of the whole batch; 0 at prediction.
        activation_bytes: of its output, of the whole batch; 0 where it shares that of the layer before, as an
            activation function does.
        column_bytes: what a convolution's windows see in one image, written out as the columns of one matrix (im2col),
            of which the kernels' product with it would be the output: of one group at a time, and of a transposed
            convolution what the product gives, before it is added up; 0 for other layers. They are there one
            convolution at a time: of several, those of the largest.
        receptive_field: pixels of the image that one unit of its output sees, along each side; empty where the network
            does not take images.
        stride: pixels from what one unit sees to what the next one sees; 0 where all see the same.
        offset: first pixel that the first unit sees; negative where that is padding.
        arithmetic: how these numbers come about.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    backward_macs: int
    activation_bytes: int
    column_bytes: int
    receptive_field: tuple[int, ...]
    stride: tuple[int | float, ...]
    offset: tuple[int | float, ...]
    arithmetic: Arithmetic


def layer_costs(network: nn.Module, *input_shapes: Sequence[int]) -> list[LayerCost]:
    """Return the layers of a network at prediction of one image, in the order in which they run.

    Args:
        network: any module that takes tensors; neither its weights nor its mode are changed.
        input_shapes: of one image, channels x height x width, and of whatever else it takes of each.

    Layers that hold parameters and do not run, such as heads for training alone, come last, so that the parameters
    always add up to the network's.

    Raises:
        UsageError: for another number of shapes than the network has inputs.
    """
    dtype = next((parameter.dtype for parameter in network.parameters()), None)
    inputs = [torch.empty(1, *shape, dtype=dtype, device="meta") for shape in input_shapes]
    try:
        signature(network.forward).bind(*inputs)
    except TypeError as error:
        raise UsageError(
            expected=f"a shape for each input of {type(network).__name__}",
            received=f"{len(inputs)}: {error}",
            remedy="A network that is shown proposals takes their number and 4 besides, such as (2000, 4).",
        ) from error
    return layer_table(network, trace(Inference(network, inputs)))


def layer_table(network: nn.Module, graph: OperatorGraph) -> list[LayerCost]:
    """Return the layers of a network's graph with all that each takes; those of a loop are told once."""
    layers = find_layers(graph)
    fields, backward = Fields(graph), _backward_products(graph, layers)
    rows = _loops_told_once([_cost(network, graph, layer, fields, backward) for layer in layers])
    used = {name for layer in layers for name in layer.parameters}
    for path, module in network.named_modules():
        left = [name for name, _ in module.named_parameters(path, recurse=False) if name not in used]
        used.update(left)
        if left:
            idle = Layer(path, type(module).__name__, (), -1, None, parameters=left)
            rows.append(_cost(network, graph, idle, fields, backward))
    return rows


def _loops_told_once(rows: Sequence[LayerCost]) -> list[LayerCost]:
    """Return a table in which layers that run one after the other, again and again and alike, are told once."""
    # Parameters are those of the first time, and parts of an image begin at other places of it.
    keys = [replace(row, parameters=0, offset=(), arithmetic=Arithmetic()) for row in rows]
    told, latest, place = list[LayerCost](), dict[object, int](), 0
    while place < len(rows):
        before = latest.get(keys[place])
        length = 0 if before is None else place - before
        block, times = keys[place - length : place], 1
        while length and keys[place : place + length] == block:
            place, times = place + length, times + 1
        if times > 1:
            told[-length:] = [_times(row, times) for row in told[-length:]]
            latest.clear()  # What repeats this as a whole, an outer loop, is told as it comes.
            continue
        latest[keys[place]] = place
        told.append(rows[place])
        place += 1
    return told


def _times(row: LayerCost, count: int) -> LayerCost:
    told = {what: getattr(row.arithmetic, what) for what in ("macs", "activation")}
    return replace(
        row,
        macs=count * row.macs,
        backward_macs=count * row.backward_macs,
        activation_bytes=count * row.activation_bytes,
        arithmetic=replace(row.arithmetic, **{what: f"{count} times {text}" for what, text in told.items() if text}),
    )


def fold(layers: Sequence[LayerCost], depth: int, kinds: Mapping[str, str]) -> list[LayerCost]:
    """Return a table in which modules more than ``depth`` deep are put together in the one that holds them.

    Args:
        layers: in the order in which they run.
        depth: parts of a path; ``features.conv1`` has two.
        kinds: classes of the modules by their path.
    """
    rows: list[LayerCost] = []
    for parts, run in groupby(layers, lambda layer: layer.name.split(".")[:depth]):
        group, name = list(run), ".".join(parts)
        if all(layer.name == name for layer in group):
            rows.extend(group)
            continue
        sums = {
            what: sum(getattr(layer, what) for layer in group)
            for what in ("parameters", "macs", "backward_macs", "activation_bytes")
        }
        sums["column_bytes"] = max(layer.column_bytes for layer in group)
        ran = [layer for layer in group if layer.output_shape] or group
        rows.append(replace(ran[-1], name=name, kind=kinds.get(name, ""), arithmetic=Arithmetic(), **sums))
    return rows


def total_parameters(layers: Sequence[LayerCost]) -> int:
    """Return the trained numbers of all layers together."""
    return sum(layer.parameters for layer in layers)


def _backward_products(graph: OperatorGraph, layers: Sequence[Layer]) -> dict[int, Products]:
    """Return the multiply-adds of each operator's backward pass, by the operator's index.

    What is the gradient of an operator that ran again in the backward pass is that of the layer which ran again.
    """
    first = {layer.name: layer.operators[0] for layer in reversed(layers) if layer.operators}
    found: dict[int, Products] = {}
    for operator in graph.operators:
        if operator.phase is Phase.BACKWARD and operator.forward is not None:
            forward = graph.operators[operator.forward]
            index = first.get(graph.layer_of(forward)) if forward.phase is Phase.BACKWARD else operator.forward
            if index is not None:
                found[index] = found.get(index, ()) + multiply_adds(operator, graph)
    return found


def recomputed_macs(graph: OperatorGraph) -> int:
    """Return the multiply-adds of what runs again in the backward pass, since it was not kept."""
    again = (op for op in graph.operators if op.phase is Phase.BACKWARD and op.forward is None and op.call is not None)
    return sum(count(multiply_adds(operator, graph)) for operator in again)


def _cost(
    network: nn.Module, graph: OperatorGraph, layer: Layer, fields: Fields, backward: dict[int, Products]
) -> LayerCost:
    operators = [graph.operators[index] for index in layer.operators]
    products = tuple(product for operator in operators for product in multiply_adds(operator, graph))
    columns = max((_columns(op, graph) for op in operators if op.kind == CONVOLUTION), key=prod, default=())
    output = None if layer.output is None else graph.tensors[layer.output]
    seen = None if layer.output is None else fields.of(layer.output, layer.last)
    sides = () if seen is None else seen.fields
    return LayerCost(
        name=layer.name,
        kind=layer.kind,
        output_shape=() if output is None else output.shape[1:],
        parameters=sum(network.get_parameter(name).numel() for name in layer.parameters),
        macs=count(products),
        backward_macs=sum(count(backward.get(index, ())) for index in layer.operators),
        activation_bytes=0 if output is None or layer.shares else output.size,
        column_bytes=prod(columns) if columns else 0,
        receptive_field=tuple(int(side.size) for side in sides),
        stride=tuple(_plain(side.stride) for side in sides),
        offset=tuple(_plain(side.start) for side in sides),
        arithmetic=explain(network, graph, layer, products, columns, sides),
    )


def _columns(operator: Operator, graph: OperatorGraph) -> tuple[int, ...]:
    """Return the factors of the bytes of a convolution's columns: a window's values, times places, for one image."""
    kernel, images = graph.tensor(operator, "weight").shape, graph.tensor(operator, "input")
    # Where it is transposed, the windows lie in the result, one for each place of what comes in.
    places = images.shape if is_transposed(operator) else graph.tensors[operator.outputs[0]].shape
    return (*kernel[2:], kernel[1], *places[2:], images.itemsize)


def _plain(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)
