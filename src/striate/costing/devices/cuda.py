"""What a CUDA card adds: the blocks of torch's allocator, and workspaces of its libraries.

- torch's caching allocator hands out blocks, which may be larger than what was asked for
  (`striate.costing.devices.cuda_allocator`). It asks the driver for larger segments and keeps them: that is what it
  *reserves*, more than what is counted here, and depends on what ran before.
- cuBLAS, which multiplies matrices, takes a workspace once for each thread that calls it, and keeps it: a forward pass
  runs in one thread, and torch runs a backward pass in another. It is 32 MiB from compute capability 9.0 on, 8.125 MiB
  (``:4096:2:16:8``) before. ``CUBLAS_WORKSPACE_CONFIG=:0:0`` turns it off. Products that add a bias are cuBLASLt's,
  which takes 1 MiB more in the same way.
- What operators take inside themselves is free again afterwards; much of it is cuDNN's
  (`striate.costing.devices.cuda_inside`).

All this was compared with an H200: its errors, program by program, are in benchmarks/results/card.csv. Of other cards,
the sizes of cuBLAS's workspaces are NVIDIA's and torch's word.
"""

import torch

from striate.costing.devices.cuda_allocator import rounded, with_blocks
from striate.costing.devices.cuda_inside import inside
from striate.costing.devices.device import Device
from striate.errors import UsageError
from striate.graph.operators import OperatorGraph, Phase
from striate.units import parse_bytes

MiB, GiB = 2**20, 2**30
CUBLAS = "cuBLAS's workspaces"
LARGE_CUBLAS, SMALL_CUBLAS, CUBLASLT = 32 * MiB, 8 * MiB + 128 * 1024, MiB
MATRICES, WITH_BIAS = {"mm", "addmm", "bmm", "baddbmm"}, {"addmm"}

# Memory as NVIDIA's data sheets give it; what torch can have is some hundred MB less, which the driver takes.
CARDS = {
    "t4": 16 * GiB,
    "p100": 16 * GiB,
    "v100-16gb": 16 * GiB,
    "v100-32gb": 32 * GiB,
    "rtx3060": 12 * GiB,
    "rtx3090": 24 * GiB,
    "rtx4060": 8 * GiB,
    "rtx4090": 24 * GiB,
    "l4": 24 * GiB,
    "a10": 24 * GiB,
    "a100-40gb": 40 * GiB,
    "a100-80gb": 80 * GiB,
    "h100": 80 * GiB,
    "h200": 141 * 10**9,
}
WITH_LARGE_CUBLAS, WITH_LARGE_CUBLAS_FROM = {"h100", "h200"}, 9  # By name; by major compute capability.


def card_bytes(card: str) -> int:
    """Return the memory of a card, by name or given in bytes.

    Raises:
        UsageError: for a name that is not in the table and no number of bytes.
    """
    known = CARDS.get(_named(card))
    if known is not None:
        return known
    try:
        size = parse_bytes(card)
        if size < GiB // 4:
            raise UsageError(expected="a card's memory", received=card, remedy="Give a unit, such as 12GiB.")
        return size
    except UsageError as error:
        raise UsageError(
            expected="--gpu as a card's name or its memory, such as rtx3060 or 12GiB",
            received=repr(card),
            remedy=f"Known: {', '.join(CARDS)}.",
        ) from error


def cuda_card(card: str) -> Device:
    """Return what a card adds.

    Args:
        card: by name or bytes. How large cuBLAS's workspace is depends on its compute capability, which is known of
            one that has a name, or that is here and has just so many bytes.
    """
    capacity = card_bytes(card)
    workspace = LARGE_CUBLAS if _named(card) in WITH_LARGE_CUBLAS or _is_here(capacity) else SMALL_CUBLAS

    def fixed(graph: OperatorGraph) -> dict[str, int]:
        size = _threads(graph, MATRICES) * workspace + _threads(graph, WITH_BIAS) * CUBLASLT
        return {CUBLAS: size} if size else {}

    # A card has operators of its own, such as cuDNN's batch norm, which a build of torch without CUDA cannot trace.
    place = "cuda" if torch.cuda.is_available() else "cpu"
    return Device(
        *(f"CUDA card {card}", rounded, inside, _notes, fixed),
        completed=with_blocks,
        capacity=capacity,
        place=place,
    )


def _is_here(capacity: int) -> bool:
    """Tell whether this machine's card has so many bytes, and a large workspace."""
    if not torch.cuda.is_available():
        return False
    card = torch.cuda.get_device_properties(0)
    return card.total_memory == capacity and card.major >= WITH_LARGE_CUBLAS_FROM


def _named(card: str) -> str:
    return card.lower().replace(" ", "")


def _threads(graph: OperatorGraph, kinds: set[str]) -> int:
    """Return how many threads run operators of some kinds."""
    return len({operator.phase is Phase.BACKWARD for operator in graph.operators if operator.kind in kinds})


def _notes(_graph: OperatorGraph) -> list[str]:
    return [
        "Bytes allocated, with cuDNN's workspaces bounded by what they were on an H200; torch reserves more, and the "
        "driver takes some hundred MB for itself."
    ]
