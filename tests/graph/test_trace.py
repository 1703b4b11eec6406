"""What is recorded, against programs small enough to follow by hand, and against the same program run for real."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from striate.errors import StriateError
from striate.graph.operators import Layout, OperatorGraph, Phase, Role
from striate.graph.programs import Inference, Training
from striate.graph.trace import trace


class Calls(nn.Module):
    """A function as a network, with one weight."""

    def __init__(self, function: Callable[..., Any], *sides: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(sides or (1,)))
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.weight, *inputs)


def infer(function: Callable[..., Any], *inputs: Tensor) -> OperatorGraph:
    return trace(Inference(Calls(function), inputs))


def live_bytes(graph: OperatorGraph) -> list[int]:
    """Return the bytes alive during each operator."""
    return [sum(storage.size for storage in graph.alive_at(index)) for index in range(len(graph.operators))]


def live(graph: OperatorGraph, name: str) -> int:
    """Return the bytes alive during the one operator of that name."""
    (found,) = (
        size for size, operator in zip(live_bytes(graph), graph.operators, strict=True) if operator.name == name
    )
    return found


X = torch.zeros(1000)  # 4,000 bytes
W = 4  # the weight of `Calls`


def test_a_chain_holds_an_operators_input_and_output() -> None:
    graph = infer(lambda _, x: (x * 2).exp().sin(), X)
    assert [operator.name for operator in graph.operators] == [
        "aten.mul.Tensor",
        "aten.exp.default",
        "aten.sin.default",
    ]
    assert live_bytes(graph) == [W + 8000, W + 12000, W + 12000]
    assert [(s.size, s.born, s.died, s.role) for s in graph.storages] == [
        (4, -1, None, Role.PARAMETER),
        (4000, -1, None, Role.INPUT),
        (4000, 0, 1, Role.TEMPORARY),
        (4000, 1, 2, Role.TEMPORARY),
        (4000, 2, 2, Role.TEMPORARY),
    ]


def test_what_a_name_holds_stays_and_what_is_done_in_place_takes_nothing() -> None:
    def function(_: Tensor, x: Tensor) -> Tensor:
        kept = x * 2
        return kept.exp().relu_() + kept

    graph = infer(function, X)
    assert live(graph, "aten.relu_.default") == W + 12000
    assert live(graph, "aten.add.Tensor") == W + 16000


def test_views_share_a_storage() -> None:
    graph = infer(lambda _, x: (x * 2).view(10, 100).t()[3:].contiguous(), X)
    assert [storage.size for storage in graph.storages[2:]] == [4000, 97 * 10 * 4]
    specs = [graph.tensors[operator.outputs[0]] for operator in graph.operators]
    assert [spec.shape for spec in specs] == [(1000,), (10, 100), (100, 10), (97, 10), (97, 10)]
    assert len({spec.storage for spec in specs[:4]}) == 1
    assert [spec.layout for spec in specs] == [
        Layout.CONTIGUOUS,
        Layout.CONTIGUOUS,
        Layout.STRIDED,
        Layout.STRIDED,
        Layout.CONTIGUOUS,
    ]


def test_operators_are_joined_by_their_tensors_and_keep_their_arguments() -> None:
    graph = infer(lambda _, x: F.avg_pool2d(x * 2, 3, stride=2, padding=1), torch.zeros(1, 2, 9, 9))
    first, second = graph.operators
    assert second.inputs == first.outputs
    assert second.arguments == {
        "self": second.arguments["self"],
        "kernel_size": (3, 3),
        "stride": (2, 2),
        "padding": (1, 1),
    }


def train(network: nn.Module, x: Tensor, optimizer: Any = None) -> OperatorGraph:
    return trace(Training(network, [x], [], lambda output: output.sum(), optimizer))


def test_gradients_that_meet_are_added_in_place() -> None:
    """y = 2x reaches the sum by two ways, and by each a gradient of 4,000 bytes comes back to y.

    Autograd adds the second to the first, so that at no moment there are three.
    """

    def function(weight: Tensor, x: Tensor) -> Tensor:
        y = x * weight
        return y.sin() * 3 + y.cos() * 5

    graph = train(Calls(function, 1000), X)
    (total,) = (op for op in graph.operators if op.phase is Phase.BACKWARD and op.name == "aten.add.Tensor")
    index = graph.operators.index(total)
    first, second = (graph.tensors[tensor].storage for tensor in total.inputs)
    assert graph.tensors[total.outputs[0]].storage == first
    assert graph.storages[second].died == index
    assert sum(s.size for s in graph.storages if s.born == index) == 0


def test_a_gradient_that_something_else_holds_is_not_added_to() -> None:
    """The gradient of a sum goes to all of its terms as one tensor; the first term still waits with it for its turn."""

    def function(weight: Tensor, x: Tensor) -> Tensor:
        first = (x * weight).exp()
        y = x * 2 * weight
        return (first + (y + y.sin())) * 1.5

    graph = train(Calls(function, 1000), X)
    sums = [i for i, op in enumerate(graph.operators) if op.phase is Phase.BACKWARD and op.name == "aten.add.Tensor"]
    # At y; then where the two gradients of the weight meet, of which nobody else holds the first.
    assert [sum(s.size for s in graph.storages if s.born == index) for index in sums] == [4000, 0]


def test_operators_know_their_layer_forward_and_backward() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    network = nn.Sequential(shared, nn.BatchNorm2d(3), nn.ReLU6(inplace=True), nn.Sequential(shared, nn.Flatten()))
    graph = train(network, torch.zeros(2, 3, 8, 8))
    layers = {
        phase: [graph.layer_of(op) for op in graph.operators if op.phase is phase and op.name == f"aten.{name}.default"]
        for phase, name in ((Phase.FORWARD, "convolution"), (Phase.BACKWARD, "convolution_backward"))
    }
    assert layers == {Phase.FORWARD: ["0", "0"], Phase.BACKWARD: ["0", "0"]}
    by_name = {op.name: graph.layer_of(op) for op in graph.operators if op.phase is Phase.BACKWARD}
    assert by_name["aten.native_batch_norm_backward.default"] == "1"
    assert by_name["aten.hardtanh_backward.default"] == "2"
    assert [(c.layer, c.kind, c.parent) for c in graph.calls][-3:] == [
        ("3", "Sequential", 0),
        ("0", "Conv2d", 4),
        ("3.1", "Flatten", 4),
    ]


def test_storages_know_what_they_are_for() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5))
    graph = train(network, torch.zeros(2, 3, 8, 8), lambda net: torch.optim.Adam(net.parameters()))
    sizes = {role: sum(s.size for s in graph.storages if s.role is role) for role in Role}
    parameters = 4 * sum(p.numel() for p in network.parameters())
    assert sizes[Role.PARAMETER] == sizes[Role.GRADIENT] == parameters
    assert sizes[Role.BUFFER] == 4 * 4 + 4 * 4 + 8
    assert sizes[Role.INPUT] == 4 * 2 * 3 * 8 * 8
    assert sizes[Role.STATE] == 2 * parameters + 4 * 6  # two moments, and a count for each parameter
    # The convolution's output and its norm's, mean and deviation of the batch, and the loss.
    assert sizes[Role.SAVED] == 2 * (4 * 2 * 4 * 36) + 2 * 4 * 4 + 4
    assert {s.name for s in graph.storages if s.role is Role.GRADIENT} == {n for n, _ in network.named_parameters()}


def test_a_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    network[2].eval()
    before = {name: (id(p), p.clone()) for name, p in network.state_dict(keep_vars=True).items()}
    train(network, torch.zeros(2, 3, 8, 8), lambda net: torch.optim.SGD(net.parameters(), 0.1))
    after = network.state_dict(keep_vars=True)
    assert all(id(after[name]) == key and torch.equal(after[name], value) for name, (key, value) in before.items())
    assert [module.training for module in network] == [True, True, False]
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda _, x: x[x > 0], "aten.index"),
        (lambda _, x: x * float(x.sum()), "aten._local_scalar_dense"),
        (lambda _, x: torch.unique(x), "aten._unique2"),
    ],
)
def test_what_depends_on_values_is_refused_with_its_operator(function: Callable[..., Any], operator: str) -> None:
    network = Calls(function)
    with pytest.raises(StriateError, match=f"operators depend on shapes alone; received {operator}"):
        trace(Inference(network, [X]))
    assert not network.weight.is_meta


def test_a_mistake_in_the_network_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="length 7"):
        infer(lambda _, x: x + torch.zeros(7), X)


@pytest.mark.parametrize("channels_last", [True, False])
def test_layouts_are_those_of_a_run_with_values(channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network: nn.Module = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 1),
    ).to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(2, 3, 12, 12).contiguous(memory_format=layout)
    real: list[bool] = []
    twin = copy.deepcopy(network).eval()
    for module in twin.children():
        module.register_forward_hook(
            lambda _module, _args, output: real.append(output.is_contiguous(memory_format=torch.channels_last))
        )
    twin(x)
    graph = trace(Inference(network, [x]))
    last = {
        graph.layer_of(operator): graph.tensors[operator.outputs[0]].layout
        for operator in graph.operators
        if operator.outputs
    }
    names = [name for name, _ in network.named_children()]
    assert [last[name] is Layout.CHANNELS_LAST for name in names] == real == [channels_last] * len(names)


class Block(nn.Module):
    def __init__(self, recompute: bool) -> None:
        super().__init__()
        self.path = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 8))
        self.recompute = recompute

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = checkpoint(self.path, x, use_reentrant=False) if self.recompute else self.path(x)
        return out


def test_what_is_recomputed_is_not_saved_and_runs_again_in_the_backward_pass() -> None:
    def traced(recompute: bool) -> OperatorGraph:
        network = nn.Sequential(*(Block(recompute) for _ in range(3)))
        return trace(Training(network, [torch.zeros(100, 8)], [], lambda out: out.sum()))

    plain, again = traced(False), traced(True)
    saved = [sum(s.size for s in graph.storages if s.role is Role.SAVED) for graph in (plain, again)]
    inner = 3 * 100 * 64 * 4  # of the activation function's outputs; what goes into it is not kept by either
    assert saved[0] - saved[1] == inner
    assert not any(call.phase is Phase.BACKWARD for call in plain.calls)
    repeated = [call.layer for call in again.calls if call.phase is Phase.BACKWARD]
    assert [layer for layer in repeated if layer.count(".") == 1] == ["2.path", "1.path", "0.path"]
    backward = {
        again.layer_of(op) for op in again.operators if op.kind == "tanh_backward" and op.phase is Phase.BACKWARD
    }
    assert backward == {"0.path.1", "1.path.1", "2.path.1"}


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_micro_batches_are_traced_twice_and_never_all(parts: int) -> None:
    network = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 8))
    x = torch.zeros(30, 8)
    graph = trace(Training(network, [x], [], lambda out: out.mean(), parts=parts))
    assert [call.layer for call in graph.calls] == ["", "0", "1", "2"] * 2
    sizes = [graph.tensors[call.outputs[0]].shape[0] for call in graph.calls if call.layer == "1"]
    assert sizes == [30 // parts] * 2
    # The images of the whole batch are there, and the gradients of the first part add up with those of the second.
    assert graph.storages[graph.tensors[graph.inputs[0]].storage].size == 30 * 8 * 4
    sums = [op for op in graph.operators if op.kind == "add_" and op.phase is Phase.BACKWARD]
    assert len(sums) == 4


def test_micro_batches_give_the_gradients_of_the_batch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    x, y = torch.randn(7, 8, dtype=torch.float64), torch.randint(3, (7,))
    found = []
    for parts in (1, 3):
        gradients: list[Tensor] = []

        def during(phase: Phase, kept: list[Tensor] = gradients) -> AbstractContextManager[None]:
            if phase is Phase.OPTIMIZER:
                kept.extend(p.grad.clone() for p in network.parameters() if p.grad is not None)
            return nullcontext()

        Training(network, [x], [y], F.cross_entropy, parts=parts).run(during)
        found.append(gradients)
    assert [len(gradients) for gradients in found] == [4, 4]
    assert all(torch.allclose(one, other, rtol=1e-12) for one, other in zip(*found, strict=True))


def test_autocast_runs_in_16_bits_where_it_would() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5), nn.Softmax(1))
    graph = trace(Inference(network, [torch.zeros(2, 3, 8, 8)], torch.bfloat16))
    dtypes = {op.kind: graph.tensors[op.outputs[0]].dtype for op in graph.operators}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        truth = str(network(torch.zeros(2, 3, 8, 8)).dtype).removeprefix("torch.")
    assert dtypes["convolution"] == dtypes["addmm"] == "bfloat16"
    assert dtypes["_softmax"] == truth


def test_a_dense_layer_adds_its_bias_in_place_and_a_sum_of_ones_own_does_not() -> None:
    class Written(nn.Module):
        def __init__(self, by_hand: bool) -> None:
            super().__init__()
            self.dense, self.by_hand = nn.Linear(8, 100), by_hand

        def forward(self, x: Tensor) -> Tensor:
            x = x.transpose(0, 1)
            made: Tensor = x @ self.dense.weight.t() + self.dense.bias if self.by_hand else self.dense(x)
            return made

    def made(by_hand: bool) -> list[int]:
        graph = trace(Inference(Written(by_hand), [torch.zeros(5, 6, 8)]))
        return [s.size for s in graph.storages if s.role is Role.TEMPORARY and s.size >= 4 * 5 * 6 * 100]

    assert made(False) == [4 * 5 * 6 * 100]
    assert made(True) == [4 * 5 * 6 * 100] * 2


def test_parts_of_one_block_are_tensors_of_their_own() -> None:
    graph = infer(lambda _, x: x.chunk(2)[0] * x.chunk(2)[1], X)
    (product,) = (op for op in graph.operators if op.kind == "mul")
    assert len(set(product.inputs)) == 2
    assert len({graph.tensors[index].storage for index in product.inputs}) == 1


def test_what_was_a_real_constant_is_left_alone() -> None:
    constant = torch.ones(1000)
    graph = infer(lambda _, x: x + constant, X)
    assert [op.kind for op in graph.operators][-1] == "add"
    assert type(constant) is Tensor


def test_a_sum_that_is_made_again_is_no_sum_of_gradients() -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(8, 64), nn.Linear(8, 64)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.one(x).exp() * 2 + self.other(x)
            return made.tanh()

    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sums = Sums()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = checkpoint(self.sums, x, use_reentrant=False)
            return out

    graph = trace(Training(Again(), [torch.zeros(5, 8)], [], lambda out: out.sum()))
    sums = [index for index, op in enumerate(graph.operators) if op.kind == "add" and graph.layer_of(op) == "sums"]
    made = [sum(s.size for s in graph.storages if s.born == index) for index in sums]
    assert made == [4 * 5 * 64] * 2
