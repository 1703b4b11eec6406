"""What a card adds, by the rules that it follows; no card has been measured."""

import pytest
import torch
from torch import nn

from striate.costing.devices.cuda import CARDS, CUBLAS, card_bytes, cuda_card
from striate.costing.memory import INSIDE, timeline
from striate.errors import UsageError
from striate.graph.programs import Inference
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


def test_a_card_is_named_or_given_by_its_memory() -> None:
    assert card_bytes("RTX3060") == card_bytes("12GiB") == 12 * 2**30
    with pytest.raises(UsageError, match="Known: t4, "):
        card_bytes("gtx480")
