"""How long operators take, about: by their products, or by the bytes that they move, whichever is longer.

Only their ratio counts in a plan. The two rates are measured on the device at hand, in a fraction of a second.
"""

import time
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional as F

from striate.costing.compute import count, multiply_adds
from striate.graph.operators import Operator, OperatorGraph

REPEATS = 3


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device does in a second.

    Args:
        macs: multiply-adds of convolutions.
        bytes: read and written by operators that compute little.
    """

    macs: float
    bytes: float

    def seconds(self, operator: Operator, graph: OperatorGraph) -> float:
        """Return the time of one operator."""
        moved = sum(graph.tensors[index].size for index in {*operator.inputs, *operator.outputs})
        return max(count(multiply_adds(operator, graph)) / self.macs, moved / self.bytes)


# A card that is not at hand: the ratio of a common one's 32-bit products to its memory's rate, from its data sheet.
TYPICAL_CARD = Rates(macs=6.5e12, bytes=3.6e11)


@cache
def measure_rates(device: str = "cpu", amp_dtype: str | None = None) -> Rates:
    """Measure a device: a convolution of 64 maps, with autocast if it is asked for, and a ReLU."""
    images = torch.ones(4, 64, 56, 56, device=device).contiguous(memory_format=torch.channels_last)
    kernel = torch.ones(64, 64, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    macs = 4 * 64 * 64 * 9 * 56 * 56

    def seconds(operation: object) -> float:
        assert callable(operation)
        best = float("inf")
        for _ in range(REPEATS + 1):  # The first is not like the others, and is not the best.
            began = time.perf_counter()
            operation()
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
        return best

    amp = None if amp_dtype is None else getattr(torch, amp_dtype)
    with torch.no_grad(), torch.autocast(device, amp, enabled=amp is not None):
        convolving = seconds(lambda: F.conv2d(images, kernel, padding=1))
        large = torch.ones(4, 64, 224, 224, device=device)
        moving = seconds(lambda: F.relu(large))
    return Rates(macs / convolving, 2 * large.nbytes / moving)
