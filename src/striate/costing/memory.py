"""What a program's memory holds at each moment, and where it peaks.

What is alive at a moment comes from the operator graph; how large that is on a device, and what an operator takes
inside itself, below the dispatcher, from the device (`striate.costing.devices`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest

from striate.costing.devices.device import Device
from striate.graph.operators import OperatorGraph, Phase, Role, Storage
from striate.graph.programs import Inference, Training

INSIDE = "inside the operator"


@dataclass(frozen=True, slots=True)
class Moment:
    """What is alive during one operator.

    Args:
        size: in bytes.
        phase: of the program.
        layer: whose operator it is, forward or backward; empty for the program itself.
        operator: its name.
        by: bytes by what they are for; they add up to ``size``.
    """

    size: int
    phase: str
    layer: str
    operator: str
    by: Mapping[str, int]

    @property
    def place(self) -> str:
        """Where in the program it is, such as ``convolution, forward, features.conv1``."""
        operator = self.operator.removeprefix("aten.").removesuffix(".default")
        return ", ".join(part for part in (operator, self.phase, self.layer) if part)


def timeline(graph: OperatorGraph, device: Device) -> list[Moment]:
    """Return what is alive during each operator, in the order of the run."""
    change = [Counter[str]() for _ in range(len(graph.operators) + 1)]
    for storage in graph.storages:
        size = device.allocated(storage.size)
        change[max(storage.born, 0)][storage.role.value] += size
        if storage.died is not None:
            change[storage.died + 1][storage.role.value] -= size
    alive = Counter[str](device.fixed(graph))
    moments = []
    if not graph.operators:  # A network that does nothing holds what it is given.
        for role, size in change[0].items():
            alive[role] += size
        moments.append(Moment(sum(alive.values()), Phase.FORWARD.value, "", "", dict(alive)))
    for index, operator in enumerate(graph.operators):
        for role, size in change[index].items():
            alive[role] += size
        by = {what: size for what, size in alive.items() if size}
        inside = device.inside(operator, graph)
        if inside:
            by[INSIDE] = inside
        moments.append(Moment(sum(by.values()), operator.phase.value, graph.layer_of(operator), operator.name, by))
    return moments


def find_peak(moments: Sequence[Moment]) -> Moment:
    """Return the highest moment, the first where there are several."""
    return max(moments, key=lambda moment: moment.size)


def evaluation_peak(
    step: Training, graph: OperatorGraph, device: Device, *, size: int | None = None, channels_last: bool | None = None
) -> int:
    """Return the most bytes that prediction takes between two steps of training, with the optimizer's state there.

    Args:
        step: of training.
        graph: of that.
        device: that it runs on.
        size: images at once; those of the step by default.
        channels_last: as for `trace`.
    """
    program = Inference(step.network, [tensor[:size] for tensor in step.inputs[: step.shown]], step.amp_dtype)
    own = device.traced(program, channels_last=channels_last)
    held = sum(device.allocated(storage.size) for storage in graph.storages if storage.role is Role.STATE)
    # What the device's libraries took for the step, they keep.
    held += sum(device.fixed(graph).values()) - sum(device.fixed(own).values())
    return find_peak(timeline(own, device)).size + held


def largest_alive(graph: OperatorGraph, index: int, count: int) -> list[tuple[str, int]]:
    """Return what the largest storages alive during an operator are, with their bytes."""
    largest = nlargest(count, graph.alive_at(index), key=lambda storage: storage.size)
    return [(_name(graph, storage), storage.size) for storage in largest]


def _name(graph: OperatorGraph, storage: Storage) -> str:
    if storage.role in (Role.PARAMETER, Role.BUFFER):
        return storage.name
    if storage.role is Role.GRADIENT:
        return f"gradient of {storage.name}"
    if storage.born < 0:
        return storage.role.value
    maker = graph.operators[storage.born]
    layer = graph.layer_of(maker)
    return f"{layer} {maker.kind}".strip()
