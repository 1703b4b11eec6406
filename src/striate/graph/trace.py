"""A program's operator graph, from one run on tensors without bytes."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from striate.errors import StriateError
from striate.graph.operators import OperatorGraph, Phase, Role
from striate.graph.programs import Program
from striate.graph.recorder import Recorder

UNKNOWABLE = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
    GuardOnDataDependentSymNode,
)


def trace(program: Program, *, channels_last: bool | None = None) -> OperatorGraph:
    """Record one run of a program, without allocating its memory.

    Args:
        program: of its tensors only shapes, types and layouts matter; neither the network's weights nor its mode are
            changed.
        channels_last: whether images and kernels are to have that layout; None for the one that they have.

    Raises:
        StriateError: where what runs depends on values, with the operator.
    """
    network = program.network
    fake = FakeTensorMode(allow_non_fake_inputs=True)  # A constant that the network holds is no parameter, but real.
    with _faked(network, fake, channels_last):
        program = program.shortened().with_given([_fake_of(t, fake, channels_last) for t in program.given])
        program.begin()
        recorder = Recorder(network)
        _hold(recorder, program)

        @contextmanager
        def during(phase: Phase) -> Iterator[None]:
            recorder.phase = phase
            if phase is Phase.OPTIMIZER:
                for name, parameter in network.named_parameters():
                    if parameter.grad is not None:
                        recorder.hold(parameter.grad, Role.GRADIENT, name)
            # What a network makes of itself has to be without bytes too; an optimizer counts its steps with values.
            with fake if phase is not Phase.OPTIMIZER else nullcontext(), recorder:
                yield

        with _explained(recorder), recorder.following():
            program.run(during)
        return recorder.graph(program.inputs)


def _hold(recorder: Recorder, program: Program) -> None:
    for name, parameter in program.network.named_parameters():
        recorder.hold(parameter, Role.PARAMETER, name)
    for name, buffer in program.network.named_buffers():
        recorder.hold(buffer, Role.BUFFER, name)
    for tensor in program.given:
        recorder.hold(tensor, Role.INPUT)
    for tensor in program.state():
        recorder.hold(tensor, Role.STATE)


def _fake_of(tensor: Tensor, fake: FakeTensorMode, channels_last: bool | None) -> Tensor:
    strides = tensor.stride()
    if channels_last is not None and tensor.ndim == 4:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        strides = torch.empty(tensor.shape, device="meta", memory_format=layout).stride()
    with fake:
        return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device="cpu")


@contextmanager
def _faked(network: nn.Module, fake: FakeTensorMode, channels_last: bool | None) -> Iterator[None]:
    """Give a network parameters and buffers without bytes for a while; its mode is as before at the end."""
    modes = {module: module.training for module in network.modules()}
    owned: list[tuple[dict[str, Any], str, Tensor]] = []
    fakes: dict[int, Tensor] = {}
    for module in network.modules():
        held: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in held:
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                owned.append((tensors, name, tensor))
                if id(tensor) not in fakes:
                    made = _fake_of(tensor, fake, channels_last)
                    is_parameter = isinstance(tensor, nn.Parameter)
                    fakes[id(tensor)] = nn.Parameter(made, tensor.requires_grad) if is_parameter else made
    try:
        for tensors, name, tensor in owned:
            tensors[name] = fakes[id(tensor)]
        yield
    finally:
        for tensors, name, tensor in owned:
            tensors[name] = tensor
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _explained(recorder: Recorder) -> Iterator[None]:
    try:
        yield
    except UNKNOWABLE as error:
        raise StriateError(
            expected="a program whose operators depend on shapes alone",
            received=f"{recorder.running or 'a value'}: {str(error).partition(chr(10))[0]}",
            remedy="What runs there depends on values, so what it costs cannot be known before it runs.",
        ) from error
