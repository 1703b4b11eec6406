"""The search over stretches of the forward pass, against all ways that there are, one by one."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from odd_networks import Dense
from planned import RATES, deep, training
from striate.costing.devices.cpu import cpu
from striate.costing.memory import find_peak, timeline
from striate.graph.trace import trace
from striate.planning.recomputation import Recomputation, Stretch
from striate.planning.times import LAUNCH

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "two blocks": lambda: deep(2),
    "three blocks": lambda: deep(3),
    "dense": lambda: Dense(layers=2),
    "without norms": lambda: deep(4, normed=False),
}


def recomputation_of(network: nn.Module, batch: int = 8) -> Recomputation:
    graph = trace(training(network, batch))
    return Recomputation(graph, timeline(graph, cpu()), cpu(), [RATES.seconds(op, graph) for op in graph.operators])


def ways(recomputation: Recomputation) -> Iterator[tuple[int, float, frozenset[int]]]:
    """Yield every chain of stretches from the first cut to the last: bytes that it needs, seconds, operators."""

    def extended(cut: int, taken: tuple[Stretch, ...]) -> Iterator[tuple[Stretch, ...]]:
        if cut == len(recomputation.ends) - 1:
            yield taken
            return
        for stretch in recomputation._from(cut):
            yield from extended(stretch.last, (*taken, stretch))

    for taken in extended(0, ()):
        needed = saved = 0
        for stretch in taken:
            needed = max(needed, stretch.needed - saved)
            saved += stretch.saved
        needed = max(needed, recomputation._loss_needs - saved)
        makers = frozenset(index for stretch in taken for index in stretch.choice.made_by)
        yield needed, sum(stretch.seconds for stretch in taken), makers


@pytest.mark.parametrize("name", NETWORKS)
def test_it_finds_the_fastest_of_all_ways(name: str) -> None:
    recomputation = recomputation_of(NETWORKS[name]())
    known = list(ways(recomputation))
    assert len(known) > 4
    least = min(needed for needed, _, _ in known)
    budgets = sorted({needed + by for needed, _, _ in known for by in (-1, 0, 1)})
    for budget in budgets[:: max(1, len(budgets) // 150)]:
        found = recomputation.fastest(budget)
        fitting = [seconds for needed, seconds, _ in known if needed <= budget]
        assert (found is None) == (budget < least) == (not fitting)
        if found is not None:
            assert found.seconds == pytest.approx(min(fitting), rel=1e-9, abs=1e-15)
            assert any(
                needed <= budget and makers == found.makers and seconds == pytest.approx(found.seconds)
                for needed, seconds, makers in known
            )


@pytest.mark.parametrize("name", NETWORKS)
def test_the_smallest_budget_is_the_least_that_fits(name: str) -> None:
    recomputation = recomputation_of(NETWORKS[name]())
    smallest = recomputation.smallest()
    assert smallest == min(needed for needed, _, _ in ways(recomputation))
    assert recomputation.fastest(smallest) is not None
    assert recomputation.fastest(smallest - 1) is None


def test_less_memory_never_takes_less_time() -> None:
    recomputation = recomputation_of(deep(8), batch=16)
    smallest, plain = recomputation.smallest(), max(recomputation.alive)
    seconds = []
    for step in range(41):
        found = recomputation.fastest(smallest + (plain - smallest) * step // 40)
        assert found is not None
        seconds.append(found.seconds)
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > 0
    assert seconds[-1] == 0


@pytest.mark.parametrize("name", [*NETWORKS, "eight blocks"])
def test_what_it_finds_takes_in_truth_no_more_than_was_granted(name: str) -> None:
    """A step that is traced with the operators that were found is the judge of what they save."""
    network = deep(8) if name == "eight blocks" else NETWORKS[name]()
    recomputation = recomputation_of(network)
    smallest, plain = recomputation.smallest(), max(recomputation.alive)
    for step in range(4):
        budget = smallest + (plain - smallest) * step // 4
        found = recomputation.fastest(budget)
        assert found is not None
        places, operators = recomputation.places, recomputation.graph.operators
        program = training(network)
        program.recompute = {places[index]: operators[index].name for index in found.makers}
        assert find_peak(timeline(trace(program), cpu())).size <= 1.02 * budget


def test_the_time_is_that_of_the_operators_that_run_again() -> None:
    recomputation = recomputation_of(deep(3))
    found = recomputation.fastest(recomputation.smallest())
    assert found is not None
    graph = recomputation.graph
    total = 0.0
    for index in found.makers:
        operator = graph.operators[index]
        tensors = {*operator.inputs, *operator.outputs}
        moved = sum(graph.tensors[tensor].size for tensor in tensors) / RATES.bytes
        products = 0
        if operator.kind == "convolution":
            kernel, made = graph.tensor(operator, "weight").shape, graph.tensors[operator.outputs[0]].shape
            products = torch.Size(kernel[1:]).numel() * torch.Size(made).numel()
        if operator.kind == "addmm":
            products = 8 * 8 * 5
        total += max(products / RATES.macs, moved) + LAUNCH
    assert found.seconds == pytest.approx(total)
