"""What can be made again, for chains of which one can say it by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from striate.graph.operators import BEFORE, Operator, OperatorGraph
from striate.graph.programs import Training
from striate.graph.trace import trace
from striate.planning.values import KEEP_ALL, Choice, Step, choose


def step_of(network: nn.Module, x: Tensor) -> Step:
    return Step.of(trace(Training(network, [x], [], lambda output: output.sum())))


class Calls(nn.Module):
    """A function as a network, with one weight."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.weight, x)


def called(function: Callable[[Tensor, Tensor], Tensor]) -> Step:
    return step_of(Calls(function), torch.zeros(4, 8))


def everything(_operator: Operator) -> bool:
    return True


def but(*kinds: str) -> Callable[[Operator], bool]:
    return lambda operator: operator.kind not in kinds


def kinds(graph: OperatorGraph, operators: frozenset[int] | list[int]) -> list[str]:
    return [graph.operators[index].kind for index in sorted(operators)]


def makers(step: Step, storages: frozenset[int] | set[int]) -> list[list[str]]:
    """Return the operators that wrote some storages, in the order of the first."""
    found = sorted(step.writers[storage] for storage in storages)
    return [[step.graph.operators[index].kind for index in writers] for writers in found]


def whole(step: Step, allowed: Callable[[Operator], bool]) -> Choice:
    return choose(step, step.forward, [index for index in step.forward if allowed(step.graph.operators[index])])


def normed_chain() -> Step:
    """Two convolutions with a norm and a ReLU in place between them."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.Flatten()
    )
    return step_of(network, torch.zeros(2, 3, 8, 8))


def test_what_autograd_keeps_of_a_convolution_a_norm_and_an_activation() -> None:
    step = normed_chain()
    assert [kind for kind in kinds(step.graph, step.forward) if kind != "empty"] == [
        *("convolution", "add_", "native_batch_norm", "relu_", "convolution")
    ]
    # What the norm reads, and what the activation makes, which the norm made before it. A norm's mean and deviation of
    # each channel are not worth a thought, and of the last convolution's output nothing needs the values.
    assert makers(step, step.values) == [["convolution"], ["native_batch_norm", "relu_"]]
    gradients = {
        step.graph.operators[index].kind: kinds(step.graph, made) for index, made in step.backward.items() if made
    }
    assert "threshold_backward" in gradients["relu_"]
    assert "native_batch_norm_backward" in gradients["native_batch_norm"]
    assert "threshold_backward" not in gradients["native_batch_norm"]


def test_an_activation_is_made_again_by_it_and_its_norm() -> None:
    step = normed_chain()
    choice = whole(step, but("convolution"))
    assert makers(step, choice.dropped) == [["native_batch_norm", "relu_"]]
    assert kinds(step.graph, choice.made_by) == ["native_batch_norm", "relu_"]


def test_a_convolution_too_if_it_may_run_again_and_what_counts_batches_never() -> None:
    step = normed_chain()
    choice = whole(step, everything)
    assert makers(step, choice.dropped) == [["convolution"], ["native_batch_norm", "relu_"]]
    assert kinds(step.graph, choice.made_by) == ["convolution", "native_batch_norm", "relu_"]


def test_without_its_norm_an_activation_in_place_cannot_run_again() -> None:
    assert whole(normed_chain(), but("convolution", "native_batch_norm")) == KEEP_ALL


def test_what_the_next_stretch_reads_is_kept() -> None:
    step = normed_chain()
    first, second = step.forward[:-1], step.forward[-1:]
    assert makers(step, choose(step, first, first).dropped) == [["convolution"]]
    assert kinds(step.graph, choose(step, first, first).made_by) == ["convolution"]
    assert choose(step, second, second) == KEEP_ALL


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.RReLU()])
def test_random_numbers_are_not_drawn_again(layer: nn.Module) -> None:
    step = step_of(nn.Sequential(nn.Linear(8, 8), layer, nn.Linear(8, 8), nn.Tanh()), torch.zeros(4, 8))
    drawing = {index for index in step.forward if step.graph.operators[index].random}
    assert drawing
    choice = whole(step, everything)
    assert not choice.made_by & drawing
    drawn = {storage for index in drawing for storage in step.writes[index]}
    assert drawn & step.values
    assert not choice.dropped & drawn


def test_what_is_made_of_random_numbers_is_made_again_of_those_that_are_kept() -> None:
    step = called(lambda weight, x: ((x * weight) * torch.rand(4, 8)).sin() * weight)
    choice = whole(step, everything)
    assert makers(step, step.values) == [["rand"], ["mul"], ["sin"]]
    assert makers(step, choice.dropped) == [["mul"], ["sin"]]
    assert kinds(step.graph, choice.made_by) == ["mul", "mul", "sin"]


def test_what_reads_a_kept_map_that_changes_afterwards_is_kept() -> None:
    def function(weight: Tensor, x: Tensor, changes: bool) -> Tensor:
        y = x * weight
        z = y.relu()
        if changes:
            y.add_(1)
        return z * weight + y.sin()

    steady, changing = (called(lambda w, x, c=changes: function(w, x, c)) for changes in (False, True))  # type: ignore[misc]
    assert makers(steady, whole(steady, but("mul")).dropped) == [["relu"]]
    assert whole(changing, but("mul")) == KEEP_ALL
    # If the map itself can be made again, as it was and as it became, so can what was made of it on the way.
    assert makers(changing, whole(changing, everything).dropped) == [["mul", "add_"], ["relu"]]


def test_what_something_else_changed_is_not_what_its_makers_make() -> None:
    def function(weight: Tensor, x: Tensor) -> Tensor:
        y = x * weight
        y.add_(1)
        return y.exp() * weight

    step = called(function)
    assert makers(step, whole(step, everything).dropped) == [["exp"]]
    assert whole(step, but("add_")) == KEEP_ALL


def test_what_is_passed_through_is_made_again_although_nobody_keeps_it() -> None:
    """Autograd keeps the ReLU's map alone; the others are needed to make it."""
    step = called(lambda weight, x: ((x + weight) * 2 + 1).relu() * weight)
    choice = whole(step, everything)
    assert makers(step, step.values) == [["relu"]]
    assert makers(step, choice.dropped) == [["relu"]]
    assert kinds(step.graph, choice.made_by) == ["add", "mul", "add", "relu"]
    assert whole(step, but("add")) == KEEP_ALL


def test_what_the_loss_reads_is_kept() -> None:
    step = called(lambda weight, x: (x * weight).relu())
    assert makers(step, step.values) == [["relu"]]
    assert whole(step, everything) == KEEP_ALL


def test_parameters_and_inputs_are_there_and_are_not_values() -> None:
    step = called(lambda weight, x: (x * weight).exp())
    (exp,) = step.values
    there = {s for s, storage in enumerate(step.graph.storages) if storage.born == BEFORE}
    assert exp not in there
    assert all(step.is_permanent(storage) and step.is_kept(storage) for storage in there)
    assert step.is_kept(exp)
    assert not step.is_permanent(exp)
    product = step.writes[step.forward[0]]
    assert not any(step.is_kept(storage) for storage in product)


def test_small_values_are_left_alone() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.gate = nn.Conv2d(3, 8, 3), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            seen: Tensor = self.enter(x)
            weight = self.gate(seen.mean((2, 3))).sigmoid()
            gated: Tensor = seen * weight[:, :, None, None]
            return gated

    step = step_of(Gated(), torch.zeros(2, 3, 32, 32))
    assert makers(step, step.values) == [["convolution"]]


def test_of_micro_batches_it_is_the_last() -> None:
    network, x = nn.Sequential(nn.Linear(8, 8), nn.Tanh()), torch.zeros(6, 8)
    graph = trace(Training(network, [x], [], lambda output: output.sum(), parts=3))
    step = Step.of(graph)
    assert kinds(graph, step.forward) == ["addmm", "tanh"]
    assert sum(operator.kind == "tanh" for operator in graph.operators) == 2
    assert step.forward[-1] == max(i for i, operator in enumerate(graph.operators) if operator.kind == "tanh")
