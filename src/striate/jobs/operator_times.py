"""What a network's operators take on this machine: measured once, kept in a cache, and read from there."""

import copy
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from striate.costing.devices.device import Device
from striate.costing.memory import find_peak, timeline
from striate.errors import StriateError
from striate.files import cache_folder, replace_file
from striate.graph.operators import OperatorGraph, Phase
from striate.graph.programs import Training
from striate.graph.timing import Timed, time_operators
from striate.graph.trace import trace
from striate.planning.times import Rates, Times, step_seconds

LARGEST, SMALLER = 8, 4  # Images of the larger of the two steps, and how many times fewer the other has.
LONGEST = 2.0  # Seconds that a step may be estimated to take, to be measured.


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
    batch = len(program.inputs[0])
    graph = trace(program, channels_last=channels_last)
    path = cache_folder("times") / f"{_fingerprint(graph, program, kind, channels_last)}.json"
    known = _read(path)
    if known is None:
        found: dict[int, Sequence[Timed]] = {}
        for size in dict.fromkeys((max(1, min(batch, LARGEST) // SMALLER), min(batch, LARGEST))):
            timed = _measure(_shortened(program, size), rates, device, kind, limit, channels_last)
            if timed is not None:
                found[size] = timed
        known = found
        if found:
            _write(path, found)
    return Times(rates, known)


def _measure(
    program: Training, rates: Rates, device: Device, kind: str, limit: int, channels_last: bool | None
) -> list[Timed] | None:
    """Run a step for real; None where it is too large, too long, or refused by the network."""
    try:
        graph = device.completed(trace(program, channels_last=channels_last))
    except (ValueError, RuntimeError):  # Batch norm refuses to take the statistics of a single value.
        return None
    there = sum(tensor.nbytes for tensor in program.network.state_dict().values() if not tensor.is_meta)
    estimated = step_seconds(graph, [rates.seconds(operator, graph) for operator in graph.operators], 1)
    if find_peak(timeline(graph, device)).size + there > limit or estimated > LONGEST:
        return None
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if kind == "cuda" else ()):
        return time_operators(_materialised(program, kind, channels_last), kind)


def _shortened(program: Training, size: int) -> Training:
    return program.with_given([tensor[:size] for tensor in program.given])


def _materialised(program: Training, kind: str, channels_last: bool | None) -> Training:
    """Return the same step on a device, with a network of its own and values that are like any."""
    network = copy.deepcopy(program.network)
    made: dict[int, Tensor] = {}  # What modules share stays shared.
    for module in network.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for owned in tables:
            for name, tensor in owned.items():
                if tensor is not None:
                    owned[name] = made.setdefault(id(tensor), _filled(tensor, kind))
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


def _fingerprint(graph: OperatorGraph, program: Training, kind: str, channels_last: bool | None) -> str:
    """Return a name for a network's step on this device, whatever its batch."""
    names = [operator.name for operator in graph.operators]
    given = [tensor.shape[1:] for tensor in program.given]
    layout = [(tuple(p.shape), p.stride()) for p in program.network.parameters()]
    said = (kind, _device_name(kind), torch.__version__, torch.get_num_threads(), channels_last, layout, given, names)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


@cache
def _device_name(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())


def _read(path: Path) -> dict[int, Sequence[Timed]] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {
            int(size): [Timed(Phase(phase), name, float(seconds)) for phase, name, seconds in rows]
            for size, rows in document.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return None  # Not measured yet, or not by this version.


def _write(path: Path, found: Mapping[int, Sequence[Timed]]) -> None:
    document = {size: [(t.phase.value, t.name, t.seconds) for t in timed] for size, timed in found.items()}
    with suppress(StriateError):  # A home that cannot be written costs a second each time, and no more.
        replace_file(path, lambda beside: beside.write_text(json.dumps(document), encoding="utf-8"))
