"""What a card adds, by the rules that it follows."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from striate.costing.devices.cuda import CARDS, CUBLAS, card_bytes, cuda_card
from striate.costing.devices.cuda_allocator import with_blocks
from striate.costing.devices.cuda_inside import inside
from striate.costing.memory import evaluation_peak, timeline
from striate.errors import UsageError
from striate.graph.operators import BEFORE, Layout, Operator, OperatorGraph, Phase, Storage, TensorIndex, TensorSpec
from striate.graph.programs import Inference, Training
from striate.graph.trace import trace

MiB = 2**20


@pytest.mark.parametrize(("size", "allocated"), [(0, 0), (1, 512), (512, 512), (513, 1024), (10**6, 1_000_448)])
def test_requests_are_rounded_up_to_512_bytes(size: int, allocated: int) -> None:
    assert cuda_card("t4").allocated(size) == allocated


FLOAT, HALF = ("float32", 4), ("bfloat16", 2)


def taken_inside(
    name: str, tensors: Mapping[str, tuple[int, ...]], dtype: tuple[str, int], last: bool, **given: Any
) -> int:
    """Return what is predicted of one operator, whose result is the last of some tensors."""
    layout = Layout.CHANNELS_LAST if last else Layout.CONTIGUOUS
    specs = tuple(TensorSpec(shape, *dtype, layout, place) for place, shape in enumerate(tensors.values()))
    read = {argument: TensorIndex(place) for place, argument in enumerate(tensors) if argument != "made"}
    places = tuple(range(len(specs)))
    operator = Operator(name, Phase.BACKWARD, None, None, False, False, False, read | given, places[:-1], places[-1:])
    storages = tuple(Storage(spec.size, BEFORE) for spec in specs)
    return inside(operator, OperatorGraph((operator,), specs, storages, (), ()))


@pytest.mark.parametrize(
    ("image", "kernel", "result", "dtype", "last", "groups", "measured"),
    [
        ((8, 16, 224, 224), (16, 16, 3, 3), (8, 16, 224, 224), FLOAT, False, 1, 51_389_456),
        ((32, 3, 224, 224), (96, 3, 7, 7), (32, 96, 109, 109), FLOAT, False, 1, 171_759_120),
        ((32, 64, 224, 224), (64, 64, 3, 3), (32, 64, 224, 224), FLOAT, False, 1, 822_231_187),
        ((32, 3, 224, 224), (64, 3, 7, 7), (32, 64, 112, 112), HALF, True, 1, 25_740_304),
    ],
)
def test_copies_that_a_convolution_makes_are_those_that_a_card_made(
    image: tuple[int, ...],
    kernel: tuple[int, ...],
    result: tuple[int, ...],
    dtype: tuple[str, int],
    last: bool,
    groups: int,
    measured: int,
) -> None:
    """Measured on an H200, in bytes asked for of torch's allocator."""
    tensors = {"input": image, "weight": kernel, "made": result}
    predicted = taken_inside("aten.convolution.default", tensors, dtype, last, groups=groups, transposed=False)
    assert measured <= predicted <= measured + 1024


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("image", "kernel", "groups", "measured", "most"),
    [
        ((32, 96, 112, 112), (96, 1, 3, 3), 96, 0, 0),  # Depthwise.
        ((32, 64, 56, 56), (64, 64, 1, 1), 1, 0, 9 * MiB),  # A product of matrices.
    ],
)
def test_other_convolutions_take_little(
    image: tuple[int, ...], kernel: tuple[int, ...], groups: int, measured: int, most: int, last: bool
) -> None:
    tensors = {"input": image, "weight": kernel, "made": image}
    predicted = taken_inside("aten.convolution.default", tensors, FLOAT, last, groups=groups, transposed=False)
    assert measured <= predicted <= most + 512


@pytest.mark.parametrize(
    ("side", "channels", "dtype", "measured"),
    [(14, 512, HALF, 25_690_128), (28, 512, FLOAT, 102_760_464), (56, 256, HALF, 138_412_040)],
)
def test_a_gradient_of_biases_is_added_up_in_parts(
    side: int, channels: int, dtype: tuple[str, int], measured: int
) -> None:
    maps, kernel = (32, channels, side, side), (channels, channels, 3, 3)
    tensors = {"grad_output": maps, "input": maps, "weight": kernel, "made": maps}
    others = {"groups": 1, "transposed": False, "output_mask": (True, True, True)}
    predicted = taken_inside("aten.convolution_backward.default", tensors, dtype, True, **others)
    copies = (2 * 32 * channels * side**2 + channels**2 * 9) * dtype[1]
    assert measured <= predicted <= max(copies, measured) + 1024


@pytest.mark.parametrize(
    ("bags", "channels", "rows", "measured"),
    [(12_544, 128, 7_140, 16_505_944), (25_088, 128, 14_280, 33_011_872), (25_088, 96, 2_760, 21_484_192)],
)
def test_the_gradient_of_regions_sorts_the_places_of_samples(
    bags: int, channels: int, rows: int, measured: int
) -> None:
    tensors = {"grad": (bags, channels), "indices": (16 * bags,), "made": (rows, channels)}
    name, other = "aten._embedding_bag_backward.default", {"num_weights": rows}
    predicted = taken_inside(name, tensors, FLOAT, False, mode=0, **other)
    assert measured <= predicted <= measured + 1024
    assert taken_inside(name, tensors, FLOAT, False, mode=2, **other) == 0


@pytest.mark.parametrize(("card", "workspace"), [("h100", 33 * MiB), ("a100-40gb", 9 * MiB + 128 * 1024)])
def test_products_of_matrices_take_cublas_workspace_and_with_a_bias_another(card: str, workspace: int) -> None:
    graph = trace(Inference(nn.Linear(8, 4), [torch.zeros(2, 8)]))
    device = cuda_card(card)
    assert device.fixed(graph) == {CUBLAS: workspace}
    *_, moment = timeline(graph, device)
    assert moment.size == workspace + 512 * 4  # weights, biases, inputs and outputs, each below 512 bytes
    assert device.capacity == CARDS[card]


def test_a_step_takes_a_workspace_for_each_direction_and_keeps_both_between_steps() -> None:
    network = nn.Linear(8, 4, bias=False)
    step = Training(
        *(network, [torch.zeros(2, 8)], [torch.zeros(2, 4)], nn.functional.mse_loss),
        optimizer=lambda network: torch.optim.SGD(network.parameters(), 0.1),
    )
    device = cuda_card("h200")
    graph = device.traced(step)
    assert device.fixed(graph) == {CUBLAS: 2 * 32 * MiB}
    # Weights, inputs and outputs, each below 512 bytes; there is no optimizer state.
    assert evaluation_peak(step, graph, device) == 2 * 32 * MiB + 3 * 512


def run_of(*storages: Storage, operators: int) -> OperatorGraph:
    """Return a graph in which nothing happens but that storages come and go."""
    nothing = Operator("aten.empty.default", Phase.FORWARD, None, None, False, False, False, {}, (), ())
    return OperatorGraph((nothing,) * operators, (), storages, (), ())


@pytest.mark.parametrize(
    ("size", "block"),
    [
        (0, 0),
        (100, 512),
        (MiB, MiB),
        (MiB + 1, MiB + 512),  # Of a segment of 20 MiB, the rest is cut off.
        (19 * MiB, 20 * MiB),  # Of one of its own, of 20 MiB as well, it is not.
        (19 * MiB - 512, 19 * MiB - 512),
        (49 * MiB, 50 * MiB),
        (50 * MiB, 50 * MiB),
    ],
)
def test_a_rest_of_up_to_1_mib_stays_with_a_large_block(size: int, block: int) -> None:
    assert with_blocks(run_of(Storage(size, BEFORE), operators=1)).storages[0].size == block


def test_what_comes_back_is_handed_out_again() -> None:
    """By hand: of 22 MiB for the first, the second takes the rest; the third gets the first's, of which 0.5 stay."""
    first, second, third = 41 * MiB // 2, 3 * MiB // 2, 20 * MiB
    graph = with_blocks(run_of(Storage(first, 0, 0), Storage(second, 0), Storage(third, 1, 1), operators=2))
    assert [storage.size for storage in graph.storages] == [first, second, first]


def test_neighbours_that_are_free_become_one() -> None:
    """By hand: four of 5 MiB fill a segment of 20 MiB, which is whole again when they are back."""
    four = [Storage(5 * MiB, 0, 0) for _ in range(4)]
    graph = with_blocks(run_of(*four, Storage(20 * MiB - 512, 1, 1), operators=2))
    assert [storage.size for storage in graph.storages] == [*4 * [5 * MiB], 20 * MiB]


def test_a_card_is_named_or_given_by_its_memory() -> None:
    assert card_bytes("RTX3060") == card_bytes("12GiB") == 12 * 2**30
    with pytest.raises(UsageError, match="Known: t4, "):
        card_bytes("gtx480")
