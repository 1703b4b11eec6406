"""Multiply-adds against a twin that computes number by number and counts every product, forward and backward."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from striate.costing.compute import count, multiply_adds
from striate.costing.layers import layer_table, recomputed_macs
from striate.graph.operators import Phase
from striate.graph.programs import Inference, Training
from striate.graph.trace import trace


class Tally:
    """Products so far, and those of a backward pass: each factor that wants a gradient takes one more."""

    def __init__(self) -> None:
        self.forward = self.backward = 0

    def multiply(self, *wants_gradient: bool) -> None:
        self.forward += 1
        self.backward += sum(wants_gradient)


def slide(tally: Tally, shape: Sequence[int], maps: int, kernel: Sequence[int], groups: int = 1, **window: int) -> None:
    """Convolve: for every image, map and position, every place of the window in every channel of the group."""
    images, channels, *sides = shape
    stride, padding, dilation = (window.get(name, default) for name, default in (("s", 1), ("p", 0), ("d", 1)))
    positions = [
        range(0, side + 2 * padding - dilation * (k - 1), stride) for side, k in zip(sides, kernel, strict=True)
    ]
    for _ in itertools.product(range(images), range(maps), *positions):
        for _ in itertools.product(range(channels // groups), *map(range, kernel)):
            tally.multiply(True, True)


def spread(tally: Tally, shape: Sequence[int], maps: int, kernel: Sequence[int], groups: int = 1) -> None:
    """Convolve transposed: every value goes to every place of the window in every map of its group."""
    for _ in itertools.product(*map(range, shape)):
        for _ in itertools.product(range(maps // groups), *map(range, kernel)):
            tally.multiply(True, True)


def average(tally: Tally, shape: Sequence[int], windows: Sequence[Sequence[int]]) -> None:
    """Average: a share of every place of every window, whose weights want no gradient."""
    for sizes in itertools.product(*windows):
        for _ in itertools.product(range(shape[0] * shape[1]), *map(range, sizes)):
            tally.multiply(True, False)


def twin(count_products: Callable[..., None], *args: Any, **kwargs: Any) -> tuple[int, int]:
    tally = Tally()
    count_products(tally, *args, **kwargs)
    return tally.forward, tally.backward


def each(tally: Tally, values: int, *products: tuple[bool, bool]) -> None:
    """Make the same products for each value."""
    for _ in range(values):
        for wants in products:
            tally.multiply(*wants)


def counted(network: nn.Module, *inputs: Tensor) -> tuple[int, int]:
    """Return our count, forward and backward, with gradients of weights and images."""
    inputs = tuple(x.requires_grad_() if x.is_floating_point() else x for x in inputs)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network
            self.images = nn.ParameterList(inputs)

        def forward(self) -> Tensor:
            out = self.inner(*self.images)
            made: Tensor = out[0] if isinstance(out, tuple) else out
            return made

    graph = trace(Training(Outer(), [], [], lambda out: out.sum()))
    inside = [op for op in graph.operators if op.call is not None]
    sums = {
        phase: sum(count(multiply_adds(op, graph)) for op in inside if op.phase is phase)
        for phase in (Phase.FORWARD, Phase.BACKWARD)
    }
    return sums[Phase.FORWARD], sums[Phase.BACKWARD]


X = (2, 4, 6, 5)
N = 2 * 4 * 6 * 5

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, int]]] = {
    "convolution": (lambda: nn.Conv2d(4, 3, (3, 2)), X, twin(slide, X, 3, (3, 2))),
    "stride, padding": (
        lambda: nn.Conv2d(4, 3, 3, stride=2, padding=1),
        X,
        twin(slide, X, 3, (3, 3), s=2, p=1),
    ),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), X, twin(slide, X, 6, (3, 3), groups=2)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), X, twin(slide, X, 4, (3, 3), groups=4)),
    "dilated": (lambda: nn.Conv2d(4, 3, 2, dilation=3), X, twin(slide, X, 3, (2, 2), d=3)),
    "1-d": (lambda: nn.Conv1d(4, 3, 3), (2, 4, 9), twin(slide, (2, 4, 9), 3, (3,))),
    "3-d": (lambda: nn.Conv3d(2, 3, 2), (1, 2, 3, 4, 3), twin(slide, (1, 2, 3, 4, 3), 3, (2, 2, 2))),
    "transposed": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2), X, twin(spread, X, 3, (3, 3))),
    "transposed, grouped": (
        lambda: nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2),
        X,
        twin(spread, X, 6, (2, 2), groups=2),
    ),
    "dense": (lambda: nn.Linear(5, 7), (2, 3, 5), twin(slide, (6, 5, 1), 7, (1,))),
    # The square of the distance from the mean, and the scale; statistics and scale are numbers of a map.
    "batch norm": (lambda: nn.BatchNorm2d(4), X, twin(each, N, (True, False), (True, True))),
    "layer norm": (lambda: nn.LayerNorm(5), X, twin(each, N, (True, False), (True, True))),
    "group norm": (lambda: nn.GroupNorm(2, 4), X, twin(each, N, (True, False), (True, True))),
    "frozen norm": (lambda: nn.BatchNorm2d(4).eval(), X, twin(each, N, (True, True))),
    "average pooling": (lambda: nn.AvgPool2d(2), X, twin(average, X, [[2] * 3, [2] * 2])),
    "overlapping": (lambda: nn.AvgPool2d(3, stride=1), X, twin(average, X, [[3] * 4, [3] * 3])),
    # Of 5 columns to 3: 0 to 2, 1 to 4, 3 to 5; of 6 rows to 4: 0 to 2, 1 to 3, 3 to 5, 4 to 6.
    "adaptive": (lambda: nn.AdaptiveAvgPool2d((4, 3)), X, twin(average, X, [[2, 2, 2, 2], [2, 3, 2]])),
    "global": (lambda: nn.AdaptiveAvgPool2d(1), X, twin(average, X, [[6], [5]])),
    "max pooling": (lambda: nn.MaxPool2d(2), X, (0, 0)),
    "activation": (lambda: nn.GELU(), X, (0, 0)),
    "bilinear": (
        lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
        X,
        twin(each, 4 * N, *[(True, False)] * 4),
    ),
    "bicubic": (
        lambda: nn.Upsample(size=(3, 3), mode="bicubic"),
        X,
        twin(each, 2 * 4 * 9, *[(True, False)] * 16),
    ),
    "nearest": (lambda: nn.Upsample(scale_factor=2), X, (0, 0)),
}


class Eval(nn.Module):
    """A module in evaluation mode, whatever is around it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def train(self, mode: bool = True) -> "Eval":
        super().train(mode)
        self.inner.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out


@pytest.mark.parametrize("case", CASES)
def test_products_are_counted_as_one_by_one(case: str) -> None:
    build, shape, expected = CASES[case]
    network = build()
    network = network if network.training else Eval(network)
    assert counted(network, torch.zeros(shape)) == expected


def test_products_of_tensors_and_of_matrices() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor, gate: Tensor) -> Tensor:
            return (x * gate) @ gate.transpose(2, 3) * 2

    shape = (2, 3, 4, 5)
    gated = twin(each, 2 * 3 * 4 * 5, (True, True))
    matrices = twin(each, 2 * 3 * 4 * 4 * 5, (True, True))
    assert counted(Gate(), torch.zeros(shape), torch.zeros(shape)) == tuple(map(sum, zip(gated, matrices, strict=True)))


def test_samples_of_regions_are_four_neighbours_each() -> None:
    class Look(nn.Module):
        def __init__(self, weighs: bool) -> None:
            super().__init__()
            self.weighs = weighs

        def forward(self, x: Tensor) -> Tensor:
            weights = torch.ones(5 * 9, 16) if self.weighs else None
            places = torch.zeros(5 * 9, 16, dtype=torch.int32)
            return F.embedding_bag(places, x, mode="sum", per_sample_weights=weights)

    table = torch.zeros(30, 4)
    assert counted(Look(True), table) == twin(each, 5 * 9 * 4 * 4 * 4, (True, False))
    assert counted(Look(False), table) == (0, 0)


def test_attention_is_two_products_of_matrices_and_five_backward() -> None:
    class Attend(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x[..., :5, :], x[..., :5, :])

    one = 2 * 3 * 7 * 5 * 8
    assert counted(Attend(), torch.zeros(2, 3, 7, 8)) == (2 * one, 5 * one)


def test_a_recurrent_layer_multiplies_its_gates_at_every_step() -> None:
    network = nn.LSTM(3, 5, num_layers=2, batch_first=True)
    steps, batch = 7, 2
    gates = (4 * 5 * 3 + 4 * 5 * 5) + (4 * 5 * 5 + 4 * 5 * 5)
    assert counted(network, torch.zeros(batch, steps, 3)) == (gates * steps * batch, 2 * gates * steps * batch)


def test_attention_of_several_heads_counts_alike_fused_and_not() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.heads(x, x, x, need_weights=False)[0]
            return made

    x, found = torch.zeros(2, 6, 16), []
    for program in (Inference(Heads(), [x]), Training(Heads(), [x], [], lambda out: out.sum())):
        graph = trace(program)
        forward = [op for op in graph.operators if op.phase is Phase.FORWARD]
        assert any(op.kind == "_native_multi_head_attention" for op in forward) is isinstance(program, Inference)
        found.append(sum(count(multiply_adds(op, graph)) for op in forward))
    assert found == [4 * 16 * 16 * 12 + 2 * 6 * 6 * 16 * 2] * 2


def test_a_square_is_a_product_however_it_is_written() -> None:
    class Squares(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x + x.square() + x**2 + torch.addcmul(x, x, x) + x**3

    graph = trace(Inference(Squares(), [torch.zeros(X)]))
    assert sum(count(multiply_adds(op, graph)) for op in graph.operators) == 4 * N


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_runs_once_more_is_counted_apart(reentrant: bool) -> None:
    class Block(nn.Module):
        def __init__(self, again: bool) -> None:
            super().__init__()
            self.enter, self.block, self.again = nn.Linear(8, 64), nn.Sequential(nn.Linear(64, 64), nn.Tanh()), again

        def forward(self, x: Tensor) -> Tensor:
            x = self.enter(x)
            made: Tensor = checkpoint(self.block, x, use_reentrant=reentrant) if self.again else self.block(x)
            return made

    plain, again = (trace(Training(Block(b), [torch.zeros(5, 8)], [], lambda out: out.sum())) for b in (False, True))
    tables = [layer_table(Block(False), graph) for graph in (plain, again)]
    for table in tables:
        assert [(row.macs, row.backward_macs) for row in table] == [
            (5 * 8 * 64, 5 * 8 * 64),
            (5 * 64 * 64, 2 * 5 * 64 * 64),
            (0, 0),
        ]
    assert (recomputed_macs(plain), recomputed_macs(again)) == (0, 5 * 64 * 64)


@pytest.mark.parametrize("training", [False, True])
def test_an_encoder_layer_counts_alike_fused_and_not(training: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    x = torch.zeros(2, 6, 16)
    program = Training(layer, [x], [], lambda out: out.sum()) if training else Inference(layer, [x])
    graph = trace(program)
    found = [op for op in graph.operators if op.phase is Phase.FORWARD]
    assert any(op.kind == "_transformer_encoder_layer_fwd" for op in found) is not training
    matrices = [op for op in found if "norm" not in op.kind]
    projections, attention, dense = 4 * 16 * 16 * 12, 2 * 6 * 6 * 16 * 2, 2 * 16 * 32 * 12
    assert sum(count(multiply_adds(op, graph)) for op in matrices) == projections + attention + dense


def test_torchs_own_counter_agrees_where_it_is_right() -> None:
    """It knows convolutions and products of matrices, and is right for those without groups."""
    from torch.utils.flop_counter import FlopCounterMode

    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1), nn.Flatten())
    network.append(nn.Linear(4 * 5 * 5, 6))
    x = torch.randn(2, 3, 11, 11)
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    graph = trace(Training(network, [x], [], lambda out: out.sum()))
    assert 2 * sum(count(multiply_adds(op, graph)) for op in graph.operators) == counter.get_total_flops()
