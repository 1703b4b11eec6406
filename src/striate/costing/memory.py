"""Where a program's memory peaks, and what it is made of.

What is alive at a moment comes from the operator graph; what an operator takes inside itself, below the dispatcher,
from the device (`striate.costing.devices`).
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from striate.graph.operators import Operator, OperatorGraph, Phase

Inside = Callable[[Operator, OperatorGraph], int]

INSIDE = "inside the operator"


@dataclass(frozen=True, slots=True)
class Peak:
    """The most bytes of tensors alive at one moment.

    Args:
        size: in bytes.
        phase: of the program.
        layer: whose operator it is, forward or backward; empty for the program itself.
        operator: during which it falls.
        by: bytes by what they are for; they add up to ``size``.
    """

    size: int
    phase: Phase
    layer: str
    operator: str
    by: Mapping[str, int]


def timeline(graph: OperatorGraph, inside: Inside) -> list[int]:
    """Return the bytes taken during each operator: what is alive, and what the device takes inside it."""
    return [live + inside(operator, graph) for live, operator in zip(graph.live_bytes(), graph.operators, strict=True)]


def find_peak(graph: OperatorGraph, inside: Inside) -> Peak:
    """Return the highest point of the timeline, the first where there are several."""
    taken = timeline(graph, inside)
    index = max(range(len(taken)), key=taken.__getitem__)
    operator = graph.operators[index]
    by = Counter[str]()
    for storage in graph.alive_at(index):
        by[storage.role.value] += storage.size
    by[INSIDE] = inside(operator, graph)
    return Peak(
        taken[index],
        operator.phase,
        graph.layer_of(operator),
        operator.name,
        {what: size for what, size in by.items() if size},
    )
