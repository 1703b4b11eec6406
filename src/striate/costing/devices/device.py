"""What a device adds to what the dispatcher shows, as a type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from striate.graph.operators import Operator, OperatorGraph
from striate.graph.programs import Program
from striate.graph.trace import trace


@dataclass(frozen=True, slots=True)
class Device:
    """What a device adds.

    Args:
        name: for people.
        allocated: bytes that an allocation of so many bytes takes.
        inside: bytes that an operator takes besides what it reads and makes.
        fixed: bytes that a program takes throughout, by what they are for.
        completed: a graph with the sizes of storages that only the device's libraries know.
        capacity: bytes that it has; None where that is not asked.
        notes: what is not known of a program on this device, as sentences.
        place: torch's name of where its operators can be traced.
    """

    name: str
    allocated: Callable[[int], int]
    inside: Callable[[Operator, OperatorGraph], int]
    notes: Callable[[OperatorGraph], list[str]]
    fixed: Callable[[OperatorGraph], Mapping[str, int]]
    completed: Callable[[OperatorGraph], OperatorGraph] = lambda graph: graph
    capacity: int | None = None
    place: str = "cpu"

    def traced(self, program: Program, *, channels_last: bool | None = None) -> OperatorGraph:
        """Return a program's operator graph on this device, with sizes that only its libraries know; as for `trace`."""
        return self.completed(trace(program, channels_last=channels_last, device=self.place))
