"""Recording a run, operator by operator.

A `TorchDispatchMode` sees every operator below autograd, with the tensors that go in and come out. A weak reference to
each storage tells when it dies. On torch's fake tensors, which have everything but bytes, a program of any size is
recorded in a few megabytes.

What is seen differs from what happens unseen in three places, since torch takes care not to change a tensor in place
while a dispatch mode is active. Where two gradients meet, autograd adds the second to the first in place if nothing
else holds the first, but seen it makes a new tensor of the sum. ``nn.Linear`` adds its bias in place to a product of
its own, but seen out of place. And the gradient of what was picked by its place (``gather``, an index, the largest
values) is written in place into zeros, but seen into a copy of them. Such a result, if its first term dies with it, is
therefore given that term's storage.

Which operator another is the gradient of is told by the numbers that autograd gives to its nodes; torch has no public
name for these.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import StriateError
from striate.graph.dispatch import changed, is_bookkeeping, is_view, named_arguments
from striate.graph.operators import (
    BEFORE,
    Call,
    Layout,
    Operator,
    OperatorGraph,
    Phase,
    Role,
    Storage,
    TensorIndex,
    TensorSpec,
)
from striate.graph.recompute import is_made_again

aten = torch.ops.aten
SUM = aten.add.Tensor
FILLED = {  # What writes values to places.
    *(aten.scatter.src, aten.scatter.value, aten.scatter_add.default),
    *(aten.index_add.default, aten.index_put.default, aten.put.default),
}


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down what runs while it is active.

    Args:
        network: whose modules name the operators' layers.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.phase = Phase.FORWARD
        self.running = ""
        self._operators: list[Operator] = []
        self._tensors: list[TensorSpec] = []
        self._storages: list[Storage] = []
        self._storage_of: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._tensor_of: dict[tuple[Any, ...], int] = {}
        self._now = BEFORE
        self._paths = {module: path for path, module in network.named_modules()}
        self._calls: list[Call] = []
        self._entered: list[int] = []
        self._at: int | None = None
        self._operator_of_node: dict[int, int] = {}
        self._numbered = torch._C._autograd._get_sequence_nr()
        self._sums: list[tuple[int, int, int]] = []
        self._node = BEFORE, BEFORE  # The one that runs now: its number, and its first operator.

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow which module runs."""
        hooks = (
            nn.modules.module.register_module_forward_pre_hook(self._enter),
            nn.modules.module.register_module_forward_hook(self._leave, always_call=True),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def hold(self, tensor: Tensor, role: Role, name: str = "") -> None:
        """Take note of what a tensor is for; one that is new was there before the program."""
        storage = self._storages[self._tensors[self._index(tensor)].storage]
        storage.role, storage.name = role, name

    def graph(self, inputs: Sequence[Tensor]) -> OperatorGraph:
        """Return what was recorded so far, of a program with these inputs; what lives now outlives it."""
        storages, tensors = self._with_sums_in_place()
        for storage in storages:
            if storage.role is Role.TEMPORARY and storage.born > BEFORE:
                born = self._operators[storage.born].phase
                died = None if storage.died is None else self._operators[storage.died].phase
                if born in (Phase.FORWARD, Phase.LOSS) and died in (Phase.BACKWARD, Phase.OPTIMIZER):
                    storage.role = Role.SAVED
        given = tuple(self._index(tensor) for tensor in inputs)
        return OperatorGraph(tuple(self._operators), tensors, storages, tuple(self._calls), given)

    @property
    def where(self) -> str:
        """Say which layer's operator ran last, for a message; nothing where it was no layer's."""
        call = None if self._at is None else self._calls[self._at]
        return f" in {call.layer}, {call.kind}" if call is not None and call.layer else ""

    def _enter(self, module: nn.Module, _args: Any) -> None:
        parent = self._entered[-1] if self._entered else None
        layer = self._paths.get(module, "" if parent is None else self._calls[parent].layer)
        self._entered.append(len(self._calls))
        kind = type(module)
        self._calls.append(Call(layer, kind.__name__, kind.__module__, self.phase, parent, len(self._operators)))

    def _leave(self, _module: nn.Module, _args: Any, output: Any) -> None:
        outputs: list[int] = []
        self._described(output, outputs)
        call = self._calls[self._entered.pop()]
        call.outputs, call.returns_tensor = tuple(outputs), isinstance(output, Tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and write it down."""
        kwargs = kwargs or {}
        if is_bookkeeping(func):
            return func(*args, **kwargs)
        self.running, self._at = str(func), self._entered[-1] if self._entered else None
        inputs: list[int] = []
        named = named_arguments(func, args, kwargs)
        arguments = {name: self._described(value, inputs) for name, value in named.items()}
        self._now = len(self._operators)
        out = func(*args, **kwargs)
        outputs: list[int] = []
        self._described(out, outputs)
        for value in changed(func, named):
            self._described(value, outputs)
        outputs = list(dict.fromkeys(outputs))
        call, forward = self._entered[-1] if self._entered else None, None
        # While a module runs, it is a forward pass, even where that is repeated for the gradients.
        is_backward = self.phase is Phase.BACKWARD and not self._entered
        node = torch._C._current_autograd_node() if is_backward else None
        if node is None:
            # Autograd numbers its nodes just before the operators of their forward pass run.
            numbered = torch._C._autograd._get_sequence_nr()
            self._operator_of_node.update(dict.fromkeys(range(self._numbered, numbered), self._now))
            self._numbered = numbered
        else:
            number = node._sequence_nr()
            if number != self._node[0]:
                self._node = number, self._now
            forward = self._operator_of_node.get(number)
            call = None if forward is None else self._operators[forward].call
        again = is_made_again()
        if again:  # For a gradient, but not a part of it.
            forward = None
        is_sum = func is SUM and len(inputs) == 2 and self._adds_in_place(call, node, inputs)
        is_filled = func in FILLED and node is not None and not isinstance(node, BackwardCFunction)
        if (is_sum or is_filled) and not again:
            self._sums.append((self._now, self._tensors[inputs[0]].storage, self._tensors[outputs[0]].storage))
        pointwise, random = torch.Tag.pointwise in func.tags, torch.Tag.nondeterministic_seeded in func.tags
        self._operators.append(
            Operator(
                *(self.running, self.phase, call, forward, pointwise, random, is_view(func)),
                *(arguments, tuple(inputs), tuple(outputs)),
            )
        )
        return out

    def _adds_in_place(self, call: int | None, node: Any, inputs: list[int]) -> bool:
        """Tell whether a sum is autograd's, of two gradients, or that of a dense layer with its bias.

        A function whose backward pass is written in Python may add two terms of its own, which is neither.
        """
        if node is None:
            return call is not None and self._calls[call].home == nn.Linear.__module__
        if not isinstance(node, BackwardCFunction):
            return True
        return any(self._storages[self._tensors[index].storage].born < self._node[1] for index in inputs)

    def _described(self, value: Any, found: list[int]) -> object:
        if isinstance(value, Tensor):
            found.append(self._index(value))
            return TensorIndex(found[-1])
        if isinstance(value, Mapping):
            return {str(key): self._described(part, found) for key, part in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(self._described(part, found) for part in value)
        return value if value is None or isinstance(value, bool | int | float | str) else str(value)

    def _index(self, tensor: Tensor) -> int:
        storage = self._storage(tensor)
        key = (storage, tensor.dtype, tensor.storage_offset(), tensor.shape, tensor.stride())
        if key not in self._tensor_of:
            self._tensor_of[key] = len(self._tensors)
            dtype = str(tensor.dtype).removeprefix("torch.")
            self._tensors.append(TensorSpec(tuple(tensor.shape), dtype, tensor.itemsize, _layout(tensor), storage))
        return self._tensor_of[key]

    def _storage(self, tensor: Tensor) -> int:
        if tensor.layout is not torch.strided:
            raise StriateError(
                expected="tensors that hold all of their elements",
                received=f"a {str(tensor.layout).removeprefix('torch.')} one in {self.running}",
                remedy="What such a tensor takes depends on values; use dense gradients and inputs.",
            )
        block = tensor.untyped_storage()
        known = self._storage_of.get(block._cdata)
        if known is not None and known[0]() is block:
            return known[1]
        index = len(self._storages)
        self._storages.append(Storage(block.nbytes(), self._now))

        def died(_reference: Any) -> None:
            self._storages[index].died = self._now

        self._storage_of[block._cdata] = (weakref.ref(block, died), index)
        return index

    def _with_sums_in_place(self) -> tuple[tuple[Storage, ...], tuple[TensorSpec, ...]]:
        storages = tuple(replace(storage) for storage in self._storages)
        moved: dict[int, int] = {}
        for now, first, total in self._sums:
            first = moved.get(first, first)
            term, made = storages[first], storages[total]
            # What was there before this phase is not autograd's, or linear's, to change.
            if (
                term.died == now
                and term.born > BEFORE
                and self._operators[term.born].phase is self._operators[now].phase
            ):
                term.died, term.role, term.name, made.size = made.died, made.role, made.name, 0
                moved[total] = first
        return storages, tuple(replace(spec, storage=moved.get(spec.storage, spec.storage)) for spec in self._tensors)


def _layout(tensor: Tensor) -> Layout:
    # By its strides, since a tensor with one channel or one place is contiguous in both ways.
    if suggest_memory_format(tensor) is torch.channels_last and tensor.is_contiguous(memory_format=torch.channels_last):
        return Layout.CHANNELS_LAST
    return Layout.CONTIGUOUS if tensor.is_contiguous() else Layout.STRIDED
