"""What a network's operators take on this machine: measured once, kept in a cache, and read from there."""

import copy
import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from striate.costing.devices.device import Device
from striate.costing.memory import find_peak, timeline
from striate.files import cache_folder
from striate.graph.operators import OperatorGraph, Phase
from striate.graph.programs import Training
from striate.graph.timing import Timed, time_operators
from striate.planning.times import Rates, Times, step_seconds

LARGEST, SMALLER = 8, 4  # Images of the larger of the two steps, and how many times fewer the other has.
LONGEST = 2.0  # Seconds that a step may be estimated to take, to be measured.
STEADY = 1.5  # The longest run over the shortest, up to which the machine did nothing else.


def measured_times(
    program: Training, rates: Rates, device: Device, kind: str, limit: int, channels_last: bool | None
) -> Times:
    """Return what a step's operators take here, as far as a step of few images fits into a budget.

    Args:
        program: without micro-batches; only its shapes count.
        rates: for what is not measured.
        device: that its memory is predicted for.
        kind: ``cpu`` or ``cuda``, where it is run.
        limit: in bytes.
        channels_last: as for `trace`.
    """
    batch = min(len(program.inputs[0]), LARGEST)
    found: dict[int, Sequence[Timed]] = {}
    for size in dict.fromkeys((max(1, batch // SMALLER), batch)):
        # Whatever goes wrong in it, a plan can be made without: a network may refuse a single image, or values that
        # were made up.
        with suppress(Exception):
            timed = _measured(_shortened(program, size), rates, device, kind, limit, channels_last)
            if timed is not None:
                found[size] = timed
    return Times(rates, found)


def _measured(
    program: Training, rates: Rates, device: Device, kind: str, limit: int, channels_last: bool | None
) -> Sequence[Timed] | None:
    """Return a step's times from the cache, or run it for real; None where it is too large or takes too long."""
    graph = device.traced(program, channels_last=channels_last)
    path = cache_folder("times") / f"{_fingerprint(graph, kind)}.json"
    known = _read(path)
    if known is not None:
        return known
    there = sum(tensor.nbytes for tensor in program.network.state_dict().values() if not tensor.is_meta)
    estimated = step_seconds(graph, [rates.seconds(operator, graph) for operator in graph.operators], 1)
    if find_peak(timeline(graph, device)).size + there > limit or estimated > LONGEST:
        return None
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if kind == "cuda" else ()):
        timings = time_operators(_materialised(program, kind, channels_last), _now_cuda if kind == "cuda" else _now)
    if timings.spread < STEADY:  # Otherwise it is measured again the next time.
        _write(path, timings.operators)
    return timings.operators


def _now() -> float:
    return time.perf_counter()


def _now_cuda() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def _shortened(program: Training, size: int) -> Training:
    batch = len(program.inputs[0])
    return program.with_given([x[:size] if x.ndim and len(x) == batch else x for x in program.given])


def _materialised(program: Training, kind: str, channels_last: bool | None) -> Training:
    """Return the same step on a device, with a network of its own and values that are like any."""
    tensors = (*program.network.parameters(), *program.network.buffers())
    # Each is copied as what stands for it, and so what several modules share stays shared.
    network = copy.deepcopy(program.network, {id(tensor): _filled(tensor, kind) for tensor in tensors})
    for module in network.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
            hooks.clear()
    if channels_last is not None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network.to(memory_format=layout)  # type: ignore[call-overload]
    given = [_filled(tensor, kind) for tensor in program.given]
    if channels_last:
        given = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in given]
    return replace(program.with_given(given), network=network)


def _filled(tensor: Tensor, kind: str) -> Tensor:
    made = torch.empty_like(tensor, device=kind, requires_grad=False)  # With its strides: they say how it lies.
    if not made.is_floating_point():
        return made.zero_()
    made.uniform_(0.01, 0.02)
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def _fingerprint(graph: OperatorGraph, kind: str) -> str:
    """Return a name for a step on this device: all that its operators are given, but for values."""
    operators = [(operator.name, operator.phase, operator.inputs, operator.arguments) for operator in graph.operators]
    tensors = [(tensor.shape, tensor.dtype, tensor.layout) for tensor in graph.tensors]
    said = (kind, _device_name(kind), torch.__version__, torch.get_num_threads(), tensors, operators)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


@cache
def _device_name(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())


def _read(path: Path) -> list[Timed] | None:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Timed(Phase(phase), name, float(seconds)) for phase, name, seconds in rows]
    except (OSError, ValueError, TypeError):
        return None  # Not measured yet, or not by this version.


def _write(path: Path, timed: Sequence[Timed]) -> None:
    text = json.dumps([(one.phase.value, one.name, one.seconds) for one in timed])
    own = path.with_suffix(f".{os.getpid()}")  # Others may be measuring the same step.
    with suppress(OSError):  # A home that cannot be written costs a second each time, and no more.
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(text, encoding="utf-8")
        own.replace(path)
