"""The operator graph: what one run of a program does to memory, operator by operator.

PyTorch runs a network one operator of its dispatcher at a time. Each takes tensors and makes tensors. A tensor is a
view (shape, strides, offset) of a *storage*, the block of bytes that is really allocated, and several tensors may share
one. A storage is freed the moment that nothing refers to it any more: no Python name, no tensor that autograd saved for
the backward pass, no gradient that waits for another to be added. So the memory taken at a moment is the sum of the
storages alive, and a peak is the largest such sum.

An `OperatorGraph` holds the operators of a run in order, the tensors that they read and made, and for each storage the
operators between which it lived. It is made once, by `striate.graph.trace`, and read by everything that asks what a
network costs. It knows nothing of what a device takes inside an operator.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import prod


class Phase(StrEnum):
    """What a program is doing."""

    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"


class Role(StrEnum):
    """Why a storage is there."""

    PARAMETER = "parameters"
    BUFFER = "buffers"
    INPUT = "inputs"
    STATE = "optimizer state"
    GRADIENT = "gradients"
    SAVED = "saved activations"
    TEMPORARY = "temporaries"


class Layout(StrEnum):
    """How a tensor's elements lie in its storage."""

    CONTIGUOUS = "contiguous"
    CHANNELS_LAST = "channels_last"
    STRIDED = "strided"


BEFORE = -1


@dataclass(slots=True)
class Storage:
    """A block of memory.

    Args:
        size: in bytes.
        born: index of the operator that made it; `BEFORE` where it was there before the first.
        died: index of the last operator during which it was alive; None where it outlived the program.
        role: why it is there.
        name: of the parameter, buffer or gradient that it is; empty for others.
    """

    size: int
    born: int
    died: int | None = None
    role: Role = Role.TEMPORARY
    name: str = ""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor: a view of a storage.

    Args:
        shape: of the tensor.
        dtype: by torch's name, such as ``float32``.
        itemsize: bytes of an element.
        layout: how its elements lie in the storage.
        storage: index into the graph's storages.
    """

    shape: tuple[int, ...]
    dtype: str
    itemsize: int
    layout: Layout
    storage: int

    @property
    def size(self) -> int:
        """Bytes of its elements, whatever else its storage holds."""
        return prod(self.shape) * self.itemsize


@dataclass(frozen=True, slots=True)
class TensorIndex:
    """A tensor among an operator's arguments: an index into the graph's tensors."""

    index: int


@dataclass(frozen=True, slots=True)
class Operator:
    """One call of torch's dispatcher.

    Args:
        name: such as ``aten.convolution.default``.
        phase: of the program.
        call: index of the module's call that it belongs to, forward or backward; None for the program itself.
        forward: index of the operator whose gradient it computes; None for one that computes no gradient.
        pointwise: whether each element of the result is made of the elements at its own place.
        random: whether it draws random numbers.
        view: whether it only looks at a tensor in another way.
        arguments: by name, with defaults left out; each tensor as a `TensorIndex`.
        inputs: indices of the tensors among them.
        outputs: indices of the tensors that it made or changed.
    """

    name: str
    phase: Phase
    call: int | None
    forward: int | None
    pointwise: bool
    random: bool
    view: bool
    arguments: dict[str, object]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def kind(self) -> str:
        """Its name without namespace and variant, such as ``convolution``."""
        return self.name.split(".")[1]


@dataclass(slots=True)
class Call:
    """One call of a module.

    Args:
        layer: the module's path in the network; that of the caller for a module that is not the network's.
        kind: name of its class.
        home: the Python module that the class is of.
        phase: of the program; backward where a forward pass is repeated for the gradients.
        parent: index of the call that it was made in; None for the network itself.
        first: index of the first operator after it began.
        outputs: indices of the tensors that it returned.
        returns_tensor: whether it returned a tensor as it is, neither several nor one in a tuple.
    """

    layer: str
    kind: str
    home: str
    phase: Phase
    parent: int | None
    first: int
    outputs: tuple[int, ...] = ()
    returns_tensor: bool = False


@dataclass(frozen=True, slots=True)
class OperatorGraph:
    """What one run of a program does.

    Args:
        operators: in the order of the run.
        tensors: that they read and made.
        storages: of those tensors.
        calls: of modules, in the order in which they began.
        inputs: indices of the program's input tensors.
    """

    operators: tuple[Operator, ...]
    tensors: tuple[TensorSpec, ...]
    storages: tuple[Storage, ...]
    calls: tuple[Call, ...]
    inputs: tuple[int, ...]

    @property
    def image(self) -> int | None:
        """Index of the input tensor that is an image, or a sequence that is convolved; None where there is none."""
        given = [(index, len(self.tensors[index].shape)) for index in self.inputs]
        convolved = any(
            op.kind == "convolution" and len(self.tensors[op.outputs[0]].shape) == 3 for op in self.operators
        )
        return next((index for index, sides in given if sides > 3 or (sides == 3 and convolved)), None)

    def layer_of(self, operator: Operator) -> str:
        """Return the path of an operator's layer; empty for the program itself and for the network as a whole."""
        return "" if operator.call is None else self.calls[operator.call].layer

    def tensor(self, operator: Operator, argument: str) -> TensorSpec:
        """Return the tensor that an operator takes as the argument of that name."""
        index = operator.arguments[argument]
        assert isinstance(index, TensorIndex)
        return self.tensors[index.index]

    def alive_at(self, index: int) -> Iterator[Storage]:
        """Yield the storages alive during one operator."""
        for storage in self.storages:
            if storage.born <= index and (storage.died is None or storage.died >= index):
                yield storage
