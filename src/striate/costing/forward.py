"""The forward pass, cut into layers.

A layer is one call of a module that calls no other, or one operator that a module with children calls itself, such as
the addition of a residual block. They are read off the operator graph, so that functions count as modules do, a module
that runs twice is there twice, and a branch that does not run is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from striate.graph.operators import Operator, OperatorGraph, Phase, Role

# An activation function shares its layer's output in a textbook's account.
ACTIVATIONS = {
    "relu", "hardtanh", "sigmoid", "tanh", "gelu", "silu", "leaky_relu", "elu", "celu", "selu", "hardswish",
    "hardsigmoid", "mish", "softplus", "_prelu_kernel", "_softmax", "_log_softmax", "log_sigmoid_forward",
    "hardshrink", "softshrink", "threshold", "rrelu_with_noise", "native_dropout",
}  # fmt: skip
SHARING_MODULES = ("torch.nn.modules.activation", "torch.nn.modules.dropout")
MOVES = {"detach", "clone", "view", "_unsafe_view", "transpose", "permute", "t", "expand", "_to_copy"}


@dataclass(slots=True)
class Layer:
    """One step of the forward pass.

    Args:
        name: path of the module; of the caller for an operator that a module with children calls.
        kind: class of the module, or name of the operator.
        operators: indices of what runs in it.
        last: index of the last operator that has run when it is done.
        output: index of the first tensor that it returns; None where it returns none.
        reads: storages that it takes from outside.
        parameters: names of the network's parameters that it is the first to read.
        shares: whether its output lies in what it reads, as that of a view, of what is done in place and, in textbooks,
            of an activation function, of dropout or of a copy in another layout.
        is_activation: whether the module is one of torch's for that.
    """

    name: str
    kind: str
    operators: tuple[int, ...]
    last: int
    output: int | None
    reads: tuple[int, ...] = ()
    parameters: list[str] = field(default_factory=list)
    shares: bool = False
    is_activation: bool = False


def find_layers(graph: OperatorGraph) -> list[Layer]:
    """Cut the forward pass into layers, in the order in which they run."""
    parents = {call.parent for call in graph.calls}
    whole = {
        index
        for index, call in enumerate(graph.calls)
        if call.phase is Phase.FORWARD and index not in parents and not _unfolds(index, graph)
    }
    inside: dict[int, list[int]] = {index: [] for index in whole}
    found: list[tuple[int, Layer]] = []
    for index, operator in enumerate(graph.operators):
        if operator.phase is Phase.FORWARD and operator.call is not None:
            if operator.call in whole:
                inside[operator.call].append(index)
            elif _does_something(operator, graph):
                kind = operator.kind.strip("_").removesuffix("_with_indices")
                found.append((index, Layer(graph.layer_of(operator), kind, (index,), index, operator.outputs[0])))
    for index, operators in inside.items():
        call = graph.calls[index]
        if call.kind != "Identity" and (operators or call.outputs):
            output = call.outputs[0] if call.outputs else None
            last = operators[-1] if operators else call.first - 1
            is_activation = call.home in SHARING_MODULES and call.kind != "MultiheadAttention"
            layer = Layer(call.layer, call.kind, tuple(operators), last, output, is_activation=is_activation)
            found.append((call.first, layer))
    layers = [layer for _, layer in sorted(found, key=lambda placed: placed[0])]
    _connect(layers, graph)
    return layers


def _unfolds(index: int, graph: OperatorGraph) -> bool:
    """Tell a network that is one module made of several operators, each of which is then a layer."""
    call = graph.calls[index]
    if call.layer or call.parent is not None or call.home.startswith("torch.nn."):
        return False
    return sum(op.call == index and _does_something(op, graph) for op in graph.operators) > 1


def _does_something(operator: Operator, graph: OperatorGraph) -> bool:
    """Tell an operator that makes or changes values from one that moves them, and from making a constant."""
    if not operator.inputs or not operator.outputs or operator.kind in MOVES | {"empty_like"}:
        return False
    read = {graph.tensors[index].storage for index in operator.inputs}
    return operator.kind.endswith("_") or graph.tensors[operator.outputs[0]].storage not in read


def _connect(layers: Sequence[Layer], graph: OperatorGraph) -> None:
    """Find what each layer reads, which parameters it is the first to use, and whether its output is its own."""
    names = {index: s.name for index, s in enumerate(graph.storages) if s.role is Role.PARAMETER}
    noise: set[int] = set()
    for layer in layers:
        made: set[int] = set()
        read: dict[int, None] = {}
        for index in layer.operators:
            operator = graph.operators[index]
            read.update((graph.tensors[tensor].storage, None) for tensor in operator.inputs)
            made.update(
                storage
                for storage in (graph.tensors[tensor].storage for tensor in operator.outputs)
                if graph.storages[storage].born == index
            )
        layer.parameters.extend(name for storage in sorted(read) if (name := names.pop(storage, "")))
        layer.reads = tuple(storage for storage in read if storage not in made)
        operators = [graph.operators[index] for index in layer.operators]
        noise.update(graph.tensors[op.outputs[0]].storage for op in operators if op.kind == "bernoulli_")
        working = {operator.kind.rstrip("_") for operator in operators if operator.inputs}
        drops = working == {"mul"} and not noise.isdisjoint(read)
        activates = bool(working) and working <= ACTIVATIONS | MOVES
        own = layer.output is not None and graph.tensors[layer.output].storage in made
        layer.shares = not own or layer.is_activation or activates or drops
