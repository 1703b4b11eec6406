"""What a network costs before it runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from striate.costing.devices.cpu import cpu_bytes
from striate.costing.memory import Peak, find_peak
from striate.errors import UsageError
from striate.graph.programs import Program
from striate.graph.trace import trace
from striate.jobs.programs import ModelProgram, Settings, build_program


@dataclass(frozen=True, slots=True)
class Cost:
    """What a program takes.

    Args:
        parameters: trained numbers of the network.
        peak: of the memory on a CPU, in the steady state: inputs, parameters, buffers, gradients and the optimizer's
            state included.
    """

    parameters: int
    peak: Peak


def cost(
    network: nn.Module,
    input_shape: Sequence[int] | Sequence[Tensor],
    *,
    loss: Callable[..., Tensor] | None = None,
    targets: Sequence[Tensor] = (),
    **settings: Any,
) -> Cost:
    """Return what a network costs, without running it or allocating its memory.

    Args:
        network: any module; on any device, ``meta`` too. It is not changed.
        input_shape: of one image, channels x height x width; or the network's arguments themselves, tensors (those of
            the ``meta`` device will do) whose first side is the batch.
        loss: of the network's output and ``targets``, a scalar; by default cross-entropy for logits, N x classes, the
            sum that a network with auxiliary heads is trained with, and the mean of anything else.
        targets: what ``loss`` takes besides the output.
        settings: those of `Settings`: ``batch_size``, ``mode``, ``optimizer`` and so on; of them, ``dtype`` is the
            network's own.

    Raises:
        UsageError: for a batch or a shape that cannot be.
        StriateError: where what runs depends on values, with the operator.
    """
    chosen = Settings(**settings)
    inputs = [side for side in input_shape if isinstance(side, Tensor)]
    if not inputs:
        if not input_shape or min(cast(Sequence[int], input_shape)) < 1:
            raise UsageError(
                expected="an input shape of positive numbers",
                received=str(tuple(input_shape)),
                remedy="Give the shape of one image, such as (3, 224, 224).",
            )
        dtype = next((parameter.dtype for parameter in network.parameters()), None)
        inputs = [torch.empty(chosen.batch_size, *cast(Sequence[int], input_shape), dtype=dtype, device="meta")]
    with torch.device("meta"):
        program = build_program(network, inputs, chosen, loss, targets)
    return cost_of(program, chosen.channels_last)


def cost_of(program: Program, channels_last: bool | None = None) -> Cost:
    """Return what a program costs."""
    peak = find_peak(trace(program, channels_last=channels_last), cpu_bytes)
    return Cost(sum(parameter.numel() for parameter in program.network.parameters()), peak)


def cost_of_model(program: ModelProgram) -> Cost:
    """Return what a network that a user names costs."""
    with torch.device("meta"):
        return cost_of(program.build())
