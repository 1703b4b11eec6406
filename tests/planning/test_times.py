"""Times of steps: on lines through what was measured, matched to operators by their order."""

import pytest

from planned import RATES, deep, training
from striate.graph.operators import OperatorGraph, Phase
from striate.graph.timing import Timed, time_operators
from striate.graph.trace import trace
from striate.planning.times import LAUNCH, Times, step_seconds


def graph_of(parts: int = 1, batch: int = 8) -> OperatorGraph:
    return trace(training(deep(2), batch, parts=parts))


def timed(graph: OperatorGraph, seconds: float) -> list[Timed]:
    return [Timed(op.phase, op.name, seconds) for op in graph.operators if not op.view]


def test_without_measurements_times_are_estimated() -> None:
    graph = graph_of()
    seconds, is_measured = Times(RATES, {}).of(graph, 8)
    assert not is_measured
    for operator, one in zip(graph.operators, seconds, strict=True):
        if operator.view:
            assert one == 0
        else:
            moved = sum(graph.tensors[index].size for index in {*operator.inputs, *operator.outputs})
            assert one >= LAUNCH + moved / RATES.bytes


@pytest.mark.parametrize(("size", "expected"), [(2, 3.0), (4, 5.0), (8, 9.0), (16, 17.0)])
def test_between_and_beyond_two_sizes_a_time_is_on_their_line(size: int, expected: float) -> None:
    graph = graph_of()
    seconds, is_measured = Times(RATES, {2: timed(graph, 3.0), 8: timed(graph, 9.0)}).of(graph, size)
    assert is_measured
    assert all(
        one == pytest.approx(0 if op.view else expected) for one, op in zip(seconds, graph.operators, strict=True)
    )


def test_one_size_alone_is_scaled() -> None:
    graph = graph_of()
    seconds, _ = Times(RATES, {4: timed(graph, 2.0)}).of(graph, 12)
    assert max(seconds) == 6.0


def test_gradients_that_are_added_to_others_are_no_part_of_what_was_measured() -> None:
    """The operators of a later micro-batch still find those of the whole batch, behind every sum."""
    whole, parts = graph_of(), graph_of(parts=2)
    rising = [Timed(one.phase, one.name, float(place)) for place, one in enumerate(timed(whole, 0.0), 1)]
    seconds, is_measured = Times(RATES, {4: rising}).of(parts, 4)
    assert is_measured
    assert len(parts.operators) > len(whole.operators)
    for phase in Phase:
        wanted = {one.seconds for one in rising if one.phase is phase}
        assert wanted <= {t for t, op in zip(seconds, parts.operators, strict=True) if op.phase is phase}


def test_a_step_of_another_network_is_not_measured() -> None:
    times = Times(RATES, {8: timed(trace(training(deep(2, normed=False), 8)), 1e-9)})
    assert not times.of(graph_of(), 8)[1]


def test_micro_batches_take_all_but_the_optimizer_again() -> None:
    graph = graph_of(parts=2)
    seconds = [0.0 if operator.view else 1.0 for operator in graph.operators]
    last = max(index for index, operator in enumerate(graph.operators) if operator.phase is Phase.LOSS)
    first = max(index for index in range(last) if graph.operators[index].phase is Phase.BACKWARD) + 1
    every = sum(seconds[i] for i in range(first, len(seconds)) if graph.operators[i].phase is not Phase.OPTIMIZER)
    once = sum(one for one, op in zip(seconds, graph.operators, strict=True) if op.phase is Phase.OPTIMIZER)
    assert step_seconds(graph, seconds, 5) == 5 * every + once


def test_operators_are_timed_in_the_order_of_the_trace() -> None:
    program = training(deep(2).train(), 4)
    found = time_operators(program).operators
    graph = trace(training(deep(2), 4))
    assert [(one.phase, one.name) for one in found] == [(op.phase, op.name) for op in graph.operators if not op.view]
    assert all(one.seconds > 0 for one in found)
    slow = time_operators(training(deep(2, width=64).train(), 16, side=48)).operators
    convolution = "aten.convolution.default"
    small, large = (max(one.seconds for one in run if one.name == convolution) for run in (found, slow))
    assert large > small  # 430 times the products.
    assert all(p.grad is None for p in program.network.parameters())
