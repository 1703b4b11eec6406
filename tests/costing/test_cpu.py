"""What operators take inside, against what the profiler sees them take, and against figures worked out by hand.

Run as a program, this file prints what each of its operators takes in this machine's torch.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from striate.costing.devices import cpu, cpu_blocks, cpu_products
from striate.costing.devices.cpu import cpu_bytes, is_uncalibrated, uncalibrated_machine
from striate.costing.devices.cpu_products import lstm_workspace
from striate.graph.operators import Operator, OperatorGraph
from striate.graph.programs import Inference
from striate.graph.trace import trace

aten = torch.ops.aten
LAST = torch.channels_last
BF16 = torch.bfloat16

Case = tuple[Callable[..., object], tuple[Any, ...]]  # An operator and its arguments.


def maps(*shape: int, dtype: torch.dtype = torch.float32, layout: torch.memory_format | None = None) -> Tensor:
    return torch.zeros(*shape, dtype=dtype).contiguous(memory_format=layout or torch.contiguous_format)


def convolution(x: Tensor, w: Tensor, stride: int = 1, padding: int = 0, groups: int = 1, back: bool = False) -> Case:
    """Return a convolution; ``back`` for a transposed one."""
    sides = x.ndim - 2
    return aten.convolution.default, (
        *(x, w, None, [stride] * sides, [padding] * sides, [1] * sides),
        *(back, [0] * sides, groups),
    )


def gradients(
    grad: Tensor,
    x: Tensor,
    w: Tensor,
    stride: int = 1,
    padding: int = 0,
    wanted: tuple[bool, ...] = (True, True, False),
    groups: int = 1,
) -> Case:
    """Return the gradients of a convolution: for its image, its kernel and its bias, as they are wanted."""
    sides = x.ndim - 2
    return aten.convolution_backward.default, (
        *(grad, x, w, [len(w)] if wanted[2] else None, [stride] * sides, [padding] * sides, [1] * sides),
        *(False, [0] * sides, groups, list(wanted)),
    )


def depthwise(
    channels: int,
    side: int,
    window: int = 3,
    *,
    batch: int = 4,
    stride: int = 1,
    dtype: torch.dtype = torch.float32,
    wanted: tuple[bool, bool, bool] = (True, True, False),
) -> Case:
    """Return the gradients of a convolution of each channel by itself, in channels_last."""
    return gradients(
        maps(batch, channels, side // stride, side // stride, dtype=dtype, layout=LAST),
        maps(batch, channels, side, side, dtype=dtype, layout=LAST),
        maps(channels, 1, window, window, dtype=dtype, layout=LAST),
        stride,
        window // 2,
        groups=channels,
        wanted=wanted,
    )


def batch_norm_gradients(layout: torch.memory_format) -> Case:
    x, one = maps(4, 32, 64, 64, layout=layout), torch.ones(32)
    return aten.native_batch_norm_backward.default, (x, x, *(one,) * 5, True, 1e-5, [True, True, True])


def pool_gradients() -> Case:
    grad, x = maps(4, 64, 14, 14, layout=LAST), maps(4, 64, 28, 28)
    indices = maps(4, 64, 14, 14, dtype=torch.int64)
    window = ([2, 2], [2, 2], [0, 0], [1, 1], False)
    return aten.max_pool2d_with_indices_backward.default, (grad, x, *window, indices)


def lstm() -> Case:
    tensors = [maps(*shape) for shape in ((50, 8, 64), (256, 64), (256, 64), (256,), (256,), (8, 64), (8, 64))]
    return aten.mkldnn_rnn_layer.default, (*tensors, False, [], 2, 64, 1, True, False, False, False)


def bags(mode: int, dtype: torch.dtype = torch.int32, width: int = 64) -> Case:
    """Return 100 bags of 16 rows out of 500; of mode 0 summed, of mode 2 their largest."""
    places = torch.arange(1600, dtype=dtype) * 7 % 500
    weights = torch.ones(1600) if mode == 0 else None
    rest = (False, mode, False, weights, False, -1)
    return aten._embedding_bag.default, (maps(500, width), places, torch.arange(0, 1600, 16, dtype=dtype), *rest)


def bags_gradients(mode: int, dtype: torch.dtype = torch.int32) -> Case:
    operator, given = bags(mode, dtype)
    made: Any = operator(*given)
    _, places, starts, _, _, _, weights, _, _ = given
    return aten._embedding_bag_backward.default, (
        *(maps(100, 64), places, starts, *made[1:], 500, False, mode, False, weights, -1),
    )


EXACT: dict[str, Callable[[], Case]] = {
    "blocks": lambda: convolution(maps(4, 24, 48, 48), maps(12, 24, 3, 3), padding=1),
    "blocks, few channels": lambda: convolution(maps(4, 3, 64, 64), maps(24, 3, 3, 3), padding=1),
    "blocks, depthwise": lambda: convolution(maps(4, 40, 32, 32), maps(40, 1, 3, 3), padding=1, groups=40),
    "blocks, backwards": lambda: gradients(maps(4, 12, 48, 48), maps(4, 108, 48, 48), maps(12, 108, 3, 3), padding=1),
    "blocks, backwards, 1x1": lambda: gradients(maps(4, 24, 64, 64), maps(4, 96, 64, 64), maps(24, 96, 1, 1)),
    # Sums of few values: each thread has its own of half the batch, or a part of the channels.
    "few channels, sums of threads": lambda: gradients(
        maps(2, 6, 28, 28), maps(2, 1, 32, 32), maps(6, 1, 5, 5), wanted=(False, True, True)
    ),
    "few channels, parts of the kernel": lambda: gradients(
        maps(1, 48, 8, 8), maps(1, 3, 8, 8), maps(48, 3, 7, 7), padding=3, wanted=(False, True, False)
    ),
    "few channels in half blocks": lambda: gradients(
        maps(2, 6, 14, 14), maps(2, 4, 14, 14), maps(6, 4, 3, 3), padding=1, wanted=(False, True, True)
    ),
    "sums of threads, 1x1": lambda: gradients(
        maps(16, 16, 24, 24), maps(16, 32, 24, 24), maps(16, 32, 1, 1), wanted=(False, True, True)
    ),
    "depthwise, larger than the image": lambda: depthwise(64, 2),
    "depthwise, 5x5": lambda: depthwise(64, 8, 5),
    "backwards, strided": lambda: gradients(maps(4, 128, 16, 16), maps(4, 64, 32, 32), maps(128, 64, 3, 3), 2, 1),
    "backwards of a part": lambda: gradients(maps(4, 48, 32, 32)[:, 16:], maps(4, 16, 32, 32), maps(32, 16, 1, 1)),
    "channels last": lambda: convolution(maps(4, 64, 32, 32, layout=LAST), maps(64, 64, 3, 3, layout=LAST), padding=1),
    "channels last, backwards": lambda: gradients(
        maps(4, 256, 8, 8, layout=LAST), maps(4, 256, 8, 8, layout=LAST), maps(256, 256, 3, 3, layout=LAST), padding=1
    ),
    "transposed": lambda: convolution(maps(4, 32, 32, 32), maps(32, 16, 2, 2), 2, back=True),
    "volume": lambda: convolution(maps(4, 16, 8, 16, 16), maps(32, 16, 3, 3, 3), padding=1),
    "one small image": lambda: convolution(maps(1, 16, 16, 16), maps(32, 16, 3, 3), padding=1),
    "one volume": lambda: convolution(maps(1, 16, 8, 16, 16), maps(32, 16, 3, 3, 3), padding=1),
    "batch norm": lambda: batch_norm_gradients(torch.contiguous_format),
    "batch norm, channels last": lambda: batch_norm_gradients(LAST),
    "pooling": pool_gradients,
    "layer norm": lambda: (
        aten.native_layer_norm.default,
        (maps(4, 96, 64).transpose(1, 2), [96], torch.ones(96), torch.zeros(96), 1e-5),
    ),
    "mixed types": lambda: (aten.mul.Tensor, (maps(4, 32, 1, 1), maps(4, 32, 64, 64, dtype=torch.bool))),
    "sum of booleans": lambda: (aten.sum.dim_IntList, (maps(4, 32, 64, 64, dtype=torch.bool), [2, 3])),
    "bags": lambda: bags(0),
    "largest of few in bags": lambda: bags(2, width=4),
    "bags, backwards": lambda: bags_gradients(0),
    "bags, backwards, 64 bits": lambda: bags_gradients(0, torch.int64),
    "largest in bags, backwards": lambda: bags_gradients(2),
    "mean in 16 bits": lambda: (aten.mean.dim, (maps(4, 32, 64, 64, dtype=BF16), [2, 3])),
}

ESTIMATED: dict[str, Callable[[], Case]] = {
    "16 bits, depthwise, larger than the image": lambda: depthwise(64, 2, dtype=BF16),
    "16 bits, depthwise, 5x5": lambda: depthwise(64, 16, 5, dtype=BF16),
    "16 bits, depthwise, strided": lambda: depthwise(
        96, 56, batch=16, stride=2, dtype=BF16, wanted=(True, False, False)
    ),
    "16 bits, depthwise": lambda: depthwise(96, 8, dtype=BF16),
    "16 bits": lambda: convolution(maps(4, 64, 32, 32, dtype=BF16), maps(128, 64, 1, 1, dtype=BF16)),
    "16 bits, backwards": lambda: gradients(
        maps(4, 64, 28, 28, dtype=BF16), maps(4, 64, 28, 28, dtype=BF16), maps(64, 64, 3, 3, dtype=BF16), padding=1
    ),
    "16 bits, heavy kernel": lambda: gradients(
        maps(4, 512, 7, 7, dtype=BF16), maps(4, 512, 7, 7, dtype=BF16), maps(512, 512, 3, 3, dtype=BF16), padding=1
    ),
    "16 bits, images in pairs": lambda: gradients(
        maps(4, 320, 6, 6, dtype=BF16, layout=LAST),
        maps(4, 160, 6, 6, dtype=BF16, layout=LAST),
        maps(320, 160, 3, 3, dtype=BF16, layout=LAST),
        padding=1,
    ),
    "16 bits, 1x1 in pairs": lambda: gradients(
        maps(2, 320, 24, 24, dtype=BF16, layout=LAST),
        maps(2, 320, 24, 24, dtype=BF16, layout=LAST),
        maps(320, 320, 1, 1, dtype=BF16, layout=LAST),
    ),
    "LSTM": lstm,
}


class Calls(nn.Module):
    """An operator as a network."""

    def __init__(self, case: Callable[[], Case]) -> None:
        super().__init__()
        self.case = case

    def forward(self) -> object:
        operator, arguments = self.case()
        return operator(*arguments)


def traced(case: Callable[[], Case]) -> tuple[Operator, OperatorGraph]:
    graph = trace(Inference(Calls(case), []))
    return graph.operators[-1], graph


def predicted(case: Callable[[], Case]) -> int:
    return cpu_bytes(*traced(case))


@cache
def measured() -> dict[str, int]:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=300, check=True)
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(case: Callable[[], Case]) -> int:
    """Return the most bytes that an operator takes beyond what it returns."""
    operator, arguments = case()
    operator(*arguments)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        kept = operator(*arguments)
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    assert results is not None
    changes = [event for event in results.events() if event.name() == "[memory]"]
    taken = list(accumulate(it.nbytes() for it in sorted(changes, key=torch._C._autograd._KinetoEvent.start_ns)))
    del kept
    most: int = max(taken) - taken[-1]
    return most


fitted = pytest.mark.skipif(uncalibrated_machine() is not None, reason=str(uncalibrated_machine()))


@fitted
@pytest.mark.parametrize("name", EXACT)
def test_an_operator_takes_what_the_table_says(name: str) -> None:
    assert predicted(EXACT[name]) == pytest.approx(measured()[name], rel=0.02, abs=2048)


@fitted
@pytest.mark.parametrize("name", ESTIMATED)
def test_scratch_is_about_what_the_table_says(name: str) -> None:
    assert predicted(ESTIMATED[name]) == pytest.approx(measured()[name], rel=0.25)


# Worked out by hand: in 16 bits 4 x 32 x 64 x 64 maps are 1,048,576 bytes, and 32 x 32 x 3 x 3 kernels 18,432.
@pytest.mark.parametrize(
    ("units", "layout", "expected"),
    [
        ("none", torch.contiguous_format, 1_048_576 + 18_432),  # In blocks: image and kernel, the result in its place.
        ("vector", torch.contiguous_format, 1_048_576 + 18_432),
        ("matrix", torch.contiguous_format, 2 * 1_048_576),  # In channels last, and the result back in two copies.
        ("none", LAST, 18_432),
        ("vector", LAST, 18_432 + 3 * 4096),  # A list for each of two threads, and one more.
    ],
)
def test_16_bits_go_the_way_of_the_cpus_units(
    units: str, layout: torch.memory_format, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_blocks, "units_for_16_bits", lambda: units)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def case() -> Case:
        image, kernel = ((4, 32, 64, 64), (32, 32, 3, 3))
        return convolution(maps(*image, dtype=BF16, layout=layout), maps(*kernel, dtype=BF16, layout=layout), padding=1)

    assert predicted(case) == expected


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("none", 4 * 64 * 1000),  # The result, in 32 bits.
        ("vector", 2 * 512 * 64 * 2),  # For each of two threads, 64 columns of 512 numbers.
        ("matrix", 512 * 2 * 160 * 2 + 10_240),  # 160 columns for each, and the lists.
    ],
)
def test_a_product_in_16_bits_copies_strips_of_columns(
    units: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_products, "units_for_16_bits", lambda: units)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert predicted(lambda: (aten.mm.default, (maps(64, 512, dtype=BF16), maps(512, 1000, dtype=BF16)))) == expected


@fitted
@pytest.mark.parametrize("dtype", [torch.float32, BF16])
@pytest.mark.parametrize(
    ("steps", "batch", "width", "hidden"), [(50, 4, 16, 64), (10, 8, 100, 20), (20, 1, 300, 256), (5, 4, 128, 100)]
)
def test_an_lstm_keeps_what_onednn_says(steps: int, batch: int, width: int, hidden: int, dtype: torch.dtype) -> None:
    def arguments() -> tuple[Any, ...]:
        shapes = ((4 * hidden, width), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,), *[(batch, hidden)] * 2)
        tensors = [maps(*shape, dtype=dtype) for shape in ((steps, batch, width), *shapes)]
        return (*tensors, False, [], 2, hidden, 1, True, False, False, True)

    kept = aten.mkldnn_rnn_layer(*arguments())[3]
    assert lstm_workspace(*traced(lambda: (aten.mkldnn_rnn_layer.default, arguments()))) == kept.nbytes


def test_a_product_in_32_bits_takes_nothing() -> None:
    assert predicted(lambda: (aten.mm.default, (maps(64, 512), maps(512, 1000)))) == 0


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float32, False), (torch.bfloat16, False), (torch.float16, True), (torch.float64, True)],
)
def test_types_that_were_never_fitted_are_known(dtype: torch.dtype, expected: bool) -> None:
    images, kernels = maps(2, 3, 8, 8, dtype=dtype), maps(4, 3, 3, 3, dtype=dtype)
    assert (
        is_uncalibrated(*traced(lambda: convolution(torch.zeros_like(images), torch.zeros_like(kernels)))) is expected
    )
    assert not is_uncalibrated(*traced(lambda: (aten.mul.Tensor, (torch.zeros_like(images), 2))))


def test_a_machine_that_was_never_fitted_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", f"{cpu.VERSION}.1+cpu")
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: cpu.CAPABILITY)
        patch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        assert uncalibrated_machine() is None
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
        assert "AVX2" in str(uncalibrated_machine())
        patch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        assert "without" in str(uncalibrated_machine())
        patch.setattr(torch, "__version__", "2.130.0")
        assert "2.130.0" in str(uncalibrated_machine())


if __name__ == "__main__":
    print(json.dumps({name: measure(case) for name, case in {**EXACT, **ESTIMATED}.items()}))
