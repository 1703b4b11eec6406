"""What a CUDA card adds: rounded allocations, and workspaces of its libraries.

- torch's caching allocator rounds each request up to 512 bytes. It asks the driver for larger segments and keeps them:
  that is what it *reserves*, more than what is counted here, and depends on what ran before.
- cuBLAS, which multiplies matrices, takes a workspace once, and keeps it: 32 MiB on cards of the generation sm_90,
  8.125 MiB (``:4096:2:16:8``) on others. ``CUBLAS_WORKSPACE_CONFIG=:0:0`` turns it off.
- cuDNN takes a workspace for each convolution that depends on the algorithm that it chooses, and is free again
  afterwards. It is bounded here by a copy of all that the convolution reads and makes, as a change of layout takes.

None of this has been compared with a card yet. It was put together from torch's documentation of its allocator and of
its CUDA libraries, and a plan for a card says so.
"""

import torch

from striate.costing.devices.device import Device
from striate.errors import UsageError
from striate.graph.operators import Operator, OperatorGraph
from striate.units import parse_bytes

MiB, GiB = 2**20, 2**30
ROUNDED_TO = 512
CUBLAS = "cuBLAS's workspace"
MATRICES = {"mm", "addmm", "bmm", "baddbmm"}

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
WITH_LARGE_CUBLAS = {"h100", "h200"}


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
    """Return what a card adds; by name or bytes, of which only the name says how large cuBLAS's workspace is."""
    workspace = 32 * MiB if _named(card) in WITH_LARGE_CUBLAS else 8 * MiB + 128 * 1024

    def fixed(graph: OperatorGraph) -> dict[str, int]:
        return {CUBLAS: workspace} if any(operator.kind in MATRICES for operator in graph.operators) else {}

    # A card has operators of its own, such as cuDNN's batch norm, which a build of torch without CUDA cannot trace.
    place = "cuda" if torch.cuda.is_available() else "cpu"
    return Device(f"CUDA card {card}", _rounded, _cudnn, _notes, fixed, capacity=card_bytes(card), place=place)


def _named(card: str) -> str:
    return card.lower().replace(" ", "")


def _rounded(size: int) -> int:
    return -(-size // ROUNDED_TO) * ROUNDED_TO


def _cudnn(operator: Operator, graph: OperatorGraph) -> int:
    if operator.kind not in ("convolution", "convolution_backward"):
        return 0
    return _rounded(sum(graph.tensors[index].size for index in {*operator.inputs, *operator.outputs}))


def _notes(_graph: OperatorGraph) -> list[str]:
    return [
        "No CUDA device has verified this yet: bytes allocated, with cuDNN's workspaces bounded; torch reserves more, "
        "and the driver takes some hundred MB for itself."
    ]
