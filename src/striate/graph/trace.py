"""A program's operator graph, from one run on tensors without bytes."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from torch.utils._python_dispatch import _disable_current_modes

from striate.errors import StriateError
from striate.graph.operators import OperatorGraph, Phase, Role
from striate.graph.programs import Program, Training
from striate.graph.recorder import Recorder

UNKNOWABLE = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
    GuardOnDataDependentSymNode,
)


def trace(program: Program, *, channels_last: bool | None = None, device: str = "cpu") -> OperatorGraph:
    """Record one run of a program, without allocating its memory.

    Args:
        program: of its tensors only shapes, types and layouts matter; neither the network's weights nor its mode are
            changed.
        channels_last: whether images and kernels are to have that layout; None for the one that they have.
        device: whose operators run; another than the CPU only where torch has it.

    Raises:
        StriateError: where what runs depends on values, with the operator.
    """
    network = program.network
    wanted = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    places = _Places(channels_last, device)
    graph, learning = _traced(program, places, wanted)
    if learning is not None and learning != wanted:  # Of a parameter without a gradient, an optimizer keeps no state.
        graph, _ = _traced(program, places, learning)
    return graph


def _traced(program: Program, places: "_Places", learning: Collection[str]) -> tuple[OperatorGraph, set[str] | None]:
    """Record a program whose optimizer has state for some parameters; return those that get a gradient, too."""
    network, found = program.network, set[str]()
    # A constant that the network holds besides its parameters and buffers is real.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.inference_mode(False), _quiet(), _faked(network, fake, places):
        program = program.shortened().with_given([places.fake_of(tensor, fake) for tensor in program.given])
        program.begin()
        if isinstance(program, Training):
            program.take_step(learning)
        recorder, parameters = Recorder(network), list(network.named_parameters())
        _hold(recorder, program)

        @contextmanager
        def during(phase: Phase) -> Iterator[None]:
            before, recorder.phase = recorder.phase, phase
            if phase is Phase.OPTIMIZER and isinstance(program, Training):
                for name, parameter in parameters:
                    if parameter.grad is not None and not program.keeps_gradients:
                        recorder.hold(parameter.grad, Role.GRADIENT, name)
                    if parameter.grad is not None:
                        found.add(name)
            # What a network makes of itself has to be without bytes too; an optimizer counts its steps with values,
            # also where it runs in the middle of a backward pass.
            with _disable_current_modes() if phase is Phase.OPTIMIZER else fake, recorder:
                yield
            recorder.phase = before

        with _explained(recorder), recorder.following():
            program.run(during)
        trains = isinstance(program, Training) and program.optimizer is not None
        return recorder.graph(program.inputs), found if trains else None


def _hold(recorder: Recorder, program: Program) -> None:
    for name, parameter in program.network.named_parameters():
        recorder.hold(parameter, Role.PARAMETER, name)
    for name, buffer in program.network.named_buffers():
        recorder.hold(buffer, Role.BUFFER, name)
    for tensor in program.given:
        recorder.hold(tensor, Role.INPUT)
    for tensor in program.state():
        recorder.hold(tensor, Role.STATE)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where tensors lie, and how; as for `trace`."""

    channels_last: bool | None
    device: str

    def fake_of(self, tensor: Tensor, fake: FakeTensorMode) -> Tensor:
        strides = tensor.stride()
        if self.channels_last is not None and tensor.ndim == 4:
            layout = torch.channels_last if self.channels_last else torch.contiguous_format
            strides = torch.empty(tensor.shape, device="meta", memory_format=layout).stride()
        with fake:
            return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=self.device)


@contextmanager
def _faked(network: nn.Module, fake: FakeTensorMode, places: _Places) -> Iterator[None]:
    """Give a network parameters and buffers without bytes for a while.

    At the end every module is what it was: its mode, and whatever it kept of the tensors that it met.
    """
    before = {module: {name: _copied(value) for name, value in vars(module).items()} for module in network.modules()}
    fakes = _fakes(network, fake, places)
    try:
        for module in network.modules():
            held: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for tensors in held:
                tensors.update({name: fakes[id(tensor)] for name, tensor in tensors.items() if tensor is not None})
            if isinstance(module, nn.RNNBase):  # It keeps a second list of them.
                module._flat_weights = [getattr(module, name, None) for name in module._flat_weights_names]
        yield
    finally:
        for module, attributes in before.items():
            vars(module).clear()
            vars(module).update(attributes)


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | list | set) else value


def _fakes(network: nn.Module, fake: FakeTensorMode, places: _Places) -> dict[int, Tensor]:
    """Return a fake for each parameter and buffer, by its id; those that share memory share it again."""
    owned = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    by_storage: dict[int, list[Tensor]] = {}
    for tensor in owned.values():
        by_storage.setdefault(tensor.untyped_storage()._cdata, []).append(tensor)
    fakes = {}
    for sharing in by_storage.values():
        if len(sharing) == 1:
            made = [places.fake_of(sharing[0], fake)]
        else:
            with fake:
                block = torch.empty(sharing[0].untyped_storage().nbytes(), dtype=torch.uint8, device=places.device)
                made = [
                    block.view(t.dtype).as_strided(t.shape, t.stride(), t.storage_offset()).detach() for t in sharing
                ]
        for tensor, bare in zip(sharing, made, strict=True):
            is_parameter = isinstance(tensor, nn.Parameter)
            fakes[id(tensor)] = nn.Parameter(bare, tensor.requires_grad) if is_parameter else bare
    return fakes


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from logging a traceback of its own for what is then raised."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _explained(recorder: Recorder) -> Iterator[None]:
    try:
        yield
    except UNKNOWABLE as error:
        raise StriateError(
            expected="a program whose operators depend on shapes alone",
            received=f"{recorder.running or 'a value'}{recorder.where}",
            remedy="What runs there depends on values (`.item()`, printing, `if` on a tensor, a mask as an index), so "
            "what it costs cannot be known before it runs.",
        ) from error
    except RuntimeError as error:
        if recorder.where:
            error.add_note(recorder.where.strip())
        raise
