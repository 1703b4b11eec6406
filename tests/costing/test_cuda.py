"""What a card adds, by the rules that it follows."""

import pytest
import torch
from torch import nn

from striate.costing.devices.cuda import CARDS, CUBLAS, card_bytes, cuda_card
from striate.costing.devices.cuda_allocator import with_blocks
from striate.costing.memory import INSIDE, evaluation_peak, timeline
from striate.errors import UsageError
from striate.graph.operators import BEFORE, Operator, OperatorGraph, Phase, Storage
from striate.graph.programs import Inference, Training
from striate.graph.trace import trace

MiB = 2**20


@pytest.mark.parametrize(("size", "allocated"), [(0, 0), (1, 512), (512, 512), (513, 1024), (10**6, 1_000_448)])
def test_requests_are_rounded_up_to_512_bytes(size: int, allocated: int) -> None:
    assert cuda_card("t4").allocated(size) == allocated


def test_a_convolutions_workspace_is_bounded_by_all_that_it_reads_and_makes() -> None:
    graph = trace(Inference(nn.Conv2d(3, 8, 3), [torch.zeros(1, 3, 10, 10)]))
    (moment,) = timeline(graph, cuda_card("rtx3060"))
    elements = 3 * 10 * 10 + 8 * 3 * 3 * 3 + 8 + 8 * 8 * 8
    assert moment.by[INSIDE] == -(-4 * elements // 512) * 512
    assert CUBLAS not in moment.by


@pytest.mark.parametrize(("card", "workspace"), [("h100", 32 * MiB), ("a100-40gb", 8 * MiB + 128 * 1024)])
def test_products_of_matrices_take_cublas_workspace(card: str, workspace: int) -> None:
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
