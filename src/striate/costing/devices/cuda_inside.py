"""What operators take inside themselves on a CUDA card: bounds, by what they took on an H200.

cuDNN chooses an algorithm for each convolution, and what that takes is free again afterwards. With torch 2.11, cuDNN
9.19 and sums of 32-bit floats' products in TF32 (torch's default) it was seen to take

    contiguous        copies in channels_last of all that is read and made, channels padded to 16 bytes, for a
                      convolution and for its gradients; for one of 1 x 1 whose places fill up 16 bytes, parts of sums
    channels_last     parts of sums alone, up to 8.3 MiB; of maps with fewer channels than 16 bytes hold, and of their
                      kernels, copies. A transposed convolution copies all unless channels come in thirty-twos
    ... backwards     anything up to such copies
    depthwise         nothing in a forward pass, nor in contiguous; torch has kernels of its own for these

A gradient of biases is a sum over all places, which torch computes in parts where channels come last: up to 8 bytes for
each element, up to 1 MiB for each multiprocessor. A gradient in another layout than the maps is copied first.

These are bounds where copies are one choice among several. Of 3,000 different convolutions a twentieth took more, for
the most part gradients, by some MB. Without TF32, in contiguous, 3 x 3 convolutions took up to 2.5 GB for transforms
(Winograd's, Fourier's), which no rule here foretells.

The gradient of bags of rows, which samples of regions are, sorts the rows' numbers, and adds up ten at a time.
"""

from collections.abc import Sequence
from math import prod
from typing import cast

from striate.costing.devices.cuda_allocator import rounded
from striate.graph.operators import Layout, Operator, OperatorGraph, TensorSpec
from striate.graph.windows import is_transposed

MiB = 2**20
ALIGNED_TO = 16  # Bytes of channels.
MORE = 256  # Bytes that come with any workspace, at most.
PARTS = 9 * MiB  # Of sums that several blocks of threads compute together.
TRANSPOSED_IN = 32  # Channels.
SUM_OF, SUMS = 8, 132 * MiB
ROWS_OF_A_PART, CHANNELS_OF_A_PART, FLOAT, INDEX = 10, 32, 4, 4
WEIGHTED_SUM = 0  # torch's number of what bags are made into.


def inside(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that an operator takes besides what it reads and makes."""
    size = _inside(operator, graph)
    return rounded(size + MORE) if size else 0


def _inside(operator: Operator, graph: OperatorGraph) -> int:
    match operator.kind:
        case "convolution":
            return _forward(operator, graph)
        case "convolution_backward":
            return _backward(operator, graph)
        case "_embedding_bag_backward" if operator.arguments["mode"] == WEIGHTED_SUM:
            return _bags_backward(operator, graph)
    return 0


def _forward(operator: Operator, graph: OperatorGraph) -> int:
    taken, kernel, made = graph.tensor(operator, "input"), graph.tensor(operator, "weight"), _made(operator, graph)
    if _is_depthwise(operator, taken):
        return 0
    copies = _padded(taken), max(_padded(kernel), kernel.size), _padded(made)
    in_parts = min(sum(copies), PARTS)
    if taken.layout is not Layout.CHANNELS_LAST:
        return in_parts if _is_product(operator, taken, kernel, made) else sum(copies)
    if is_transposed(operator):
        in_thirty_twos = all(tensor.shape[1] % TRANSPOSED_IN == 0 for tensor in (taken, made))
        return in_parts if in_thirty_twos else sum(copies)
    if taken.shape[1] * taken.itemsize < ALIGNED_TO:
        return copies[0] + copies[1]
    return in_parts


def _backward(operator: Operator, graph: OperatorGraph) -> int:
    taken, kernel = graph.tensor(operator, "input"), graph.tensor(operator, "weight")
    grad = graph.tensor(operator, "grad_output")
    copies = _padded(taken) + max(_padded(kernel), kernel.size) + _padded(grad)
    if taken.layout is not grad.layout:
        copies += grad.size
    if taken.layout is not Layout.CHANNELS_LAST and _is_depthwise(operator, taken):
        copies = 0
    wants_bias = cast(Sequence[bool], operator.arguments["output_mask"])[2]
    return max(copies, min(SUM_OF * prod(grad.shape), SUMS) if wants_bias else 0)


def _bags_backward(operator: Operator, graph: OperatorGraph) -> int:
    """Three lists of all rows in order; sums of parts, and where these begin; and of each different row, the same."""
    (count,), (_, channels) = graph.tensor(operator, "indices").shape, graph.tensor(operator, "grad").shape
    parts, different = count // ROWS_OF_A_PART, cast(int, operator.arguments["num_weights"])
    sums = (parts + min(count, different)) * _up(channels, CHANNELS_OF_A_PART) * FLOAT
    return sums + INDEX * (3 * count + parts + 3 * different)


def _made(operator: Operator, graph: OperatorGraph) -> TensorSpec:
    return graph.tensors[operator.outputs[0]]


def _is_depthwise(operator: Operator, taken: TensorSpec) -> bool:
    return taken.shape[1] == cast(int, operator.arguments["groups"]) > 1


def _is_product(operator: Operator, taken: TensorSpec, kernel: TensorSpec, made: TensorSpec) -> bool:
    """Tell whether a convolution is a product of matrices, with rows of full words."""
    places = prod(taken.shape[2:])
    return (
        not is_transposed(operator)
        and prod(kernel.shape[2:]) == 1
        and places == prod(made.shape[2:])
        and places * taken.itemsize % ALIGNED_TO == 0
    )


def _padded(tensor: TensorSpec) -> int:
    """Return the bytes of a copy whose channels fill up 16 bytes."""
    channels = _up(tensor.shape[1] * tensor.itemsize, ALIGNED_TO)
    return tensor.shape[0] * channels * prod(tensor.shape[2:])


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
