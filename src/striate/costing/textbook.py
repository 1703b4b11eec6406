"""The textbook's bounds of memory: what a network's tensors take if nothing else does.

Prediction holds, at each layer, the outputs that it or a later one still needs, and what it makes; the network's own
input is not counted. Training keeps every layer's output for every image of the batch, and the inputs. An activation
function shares its layer's output. Both hold the parameters once. (Géron, "Hands-on machine learning", chapter 14,
"Memory requirements", reckons so.)

What really happens is mostly more. In training there are gradients and the optimizer's state, activation functions
out of place, an incoming and an outgoing gradient at once, and what an operator takes inside itself. At prediction the
input is there too. But not every output is kept: what no gradient needs dies at once, and the others die one by one on
the way back, while the gradients come. `striate.costing.memory` counts all of that.
"""

from dataclasses import dataclass

from striate.costing.forward import find_layers
from striate.graph.operators import OperatorGraph, Role


@dataclass(frozen=True, slots=True)
class Textbook:
    """The idealised memory of a program, in bytes.

    Args:
        activation_bytes: at prediction the most that is alive at once, in training all outputs together.
        input_bytes: of the batch.
        parameter_bytes: of the network's trained numbers.
        total_bytes: activations and parameters; in training the inputs too.
    """

    activation_bytes: int
    input_bytes: int
    parameter_bytes: int
    total_bytes: int


def textbook_bound(graph: OperatorGraph, training: bool) -> Textbook:
    """Return the bound for prediction, or for training, of the batch that a graph was traced with."""
    activations = sum(_outputs(graph).values()) if training else _most_alive(graph)
    inputs = sum(graph.tensors[index].size for index in graph.inputs)
    parameters = sum(storage.size for storage in graph.storages if storage.role is Role.PARAMETER)
    return Textbook(activations, inputs, parameters, activations + parameters + (inputs if training else 0))


def _outputs(graph: OperatorGraph) -> dict[int, int]:
    """Return the bytes of each layer's output by its storage; what shares another's is left out."""
    found: dict[int, int] = {}
    for layer in find_layers(graph):
        if layer.output is not None and not layer.shares:
            output = graph.tensors[layer.output]
            found[output.storage] = max(found.get(output.storage, 0), output.size)
    return found


def _most_alive(graph: OperatorGraph) -> int:
    sizes, layers = _outputs(graph), find_layers(graph)
    owner = {storage: storage for storage in sizes}
    made: dict[int, int] = {}
    last_read: dict[int, int] = {}
    for place, layer in enumerate(layers):
        read = [owner[storage] for storage in layer.reads if storage in owner]
        last_read.update(dict.fromkeys(read, place))
        if layer.output is None:
            continue
        storage = graph.tensors[layer.output].storage
        if layer.shares and storage not in owner and read:
            owner[storage] = read[0]
        if storage in sizes and not layer.shares:
            made.setdefault(storage, place)
            last_read.setdefault(storage, place)
    return max(
        (
            sum(size for storage, size in sizes.items() if made[storage] <= place <= last_read[storage])
            for place in range(len(layers))
        ),
        default=0,
    )
