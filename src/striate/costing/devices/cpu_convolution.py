"""What a convolution takes inside itself on a CPU: oneDNN's copies and its scratch.

oneDNN, which computes convolutions on CPUs, has layouts of its own:

    blocks            channels in groups of sixteen: what maps in the default layout (`contiguous`, N x C x H x W) are
                      copied into, and back
    channels last     what they are copied into for matrix units (16-bit floats on a CPU with AMX), and wherever a
                      strided convolution goes backwards; maps that come in `channels_last` are taken as they are
    kernels           are copied always, and their channels padded to sixteens; for matrix units the summed ones to
                      thirty-twos, since those multiply pairs of 16-bit floats

The copies are made, the result is computed, the copies are freed, and only then is the result copied back. Out of
blocks that takes one copy; out of channels last it takes two, since torch has the result brought into its own order and
that made contiguous. With x' the copy of x, and all of it on top of what the operator reads:

    convolution       max(image' + kernel' + result', result' + result), or 3 results out of channels last
    its gradients     for the image: the same, from the result's gradient; then, beside the image's gradient, for the
                      kernel: result' + image' + dkernel', then dkernel' + dkernel (in channels_last, 2 dkernel)

A transposed convolution is the way back of another, and its gradients are that one's convolution.

Scratch comes on top, much of it for each thread: the list of small matrices to multiply; tiles of matrix units, and
before them the rows that the windows slide over; for a kernel's gradient in 16-bit floats its sum in 32 bits, and both
factors arranged in pairs. Threads share that sum if the channels can be dealt out and it is heavy, else each has its
own for its images. oneDNN cuts its scratch to what it finds of cache: these terms are estimates, some within a third.

A single small image goes another way in 32 bits, through a matrix with a column for each window. A tensor in another
layout than the operator's, such as a part of the gradient of maps that were put together, is copied first.
"""

from typing import cast

from striate.costing.devices.cpu_blocks import Convolution
from striate.costing.devices.cpu_scratch import summing_scratch, working_scratch
from striate.graph.operators import Operator, OperatorGraph


def forward_bytes(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that a convolution takes inside itself."""
    taken, made = graph.tensor(operator, "input"), graph.tensors[operator.outputs[0]]
    it = Convolution.of(operator, graph, taken, made)
    copied = it.copied(taken) + it.copied(it.kernel)
    if not it.is_onednns(taken):
        return it.columns(taken if it.is_transposed else made) + copied
    return copied + (_backwards(it) if it.is_transposed else _forwards(it)) - made.size


def backward_bytes(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that a convolution's gradients take inside their operator."""
    taken, grad = graph.tensor(operator, "input"), graph.tensor(operator, "grad_output")
    it = Convolution.of(operator, graph, taken, grad)
    if not it.is_onednns(taken):
        return it.columns(taken if it.is_transposed else grad) + grad.size
    wants_image, wants_kernel, wants_bias = cast(tuple[bool, bool, bool], operator.arguments["output_mask"])
    dimage = taken.size if wants_image else 0
    dkernel = it.kernel.size if wants_kernel else 0
    dbias = grad.shape[1] * grad.itemsize if wants_bias else 0
    peaks = [dimage + dkernel + dbias]
    if wants_image:
        peaks.append(_forwards(it) if it.is_transposed else _backwards(it))
    if wants_kernel:
        made = it.dkernel_copy
        peaks.append(dimage + it.factor_copies + made + dbias + summing_scratch(it, has_bias=wants_bias))
        peaks.append(dimage + made + 2 * dbias + dkernel * (2 if it.is_channels_last else 1))
    return it.copied(grad) + it.copied(taken) + it.copied(it.kernel) + max(peaks) - dimage - dkernel - dbias


def _forwards(it: Convolution) -> int:
    """Return the most bytes taken from image to result, the result included."""
    kernel, scratch = it.kernel_copy(), working_scratch(it, is_backwards=False)
    if it.is_channels_last:
        return it.result.size + kernel + scratch
    if not it.is_in_blocks:
        return max(it.image.size + kernel + it.result.size + scratch, 3 * it.result.size)
    copy = it.blocked(it.result)
    taken = it.threads * it.columns(it.result) if it.is_by_columns else it.image_copy + kernel + scratch
    return max(taken + copy, copy + it.result.size)


def _backwards(it: Convolution) -> int:
    """Return the most bytes taken from the result, or its gradient, to the image's, the image's included."""
    kernel, scratch = it.kernel_copy(is_backwards=True), working_scratch(it, is_backwards=True)
    if it.is_channels_last:
        return it.image.size + kernel + scratch
    if not it.is_in_blocks or it.is_strided_back:
        return max(it.result.size + kernel + it.image.size + scratch, 3 * it.image.size)
    copy = it.blocked(it.image)
    taken = it.blocked(it.result) + kernel + scratch
    if it.is_by_columns:
        taken = it.threads * it.columns(it.result)
    return max(taken + copy, copy + it.image.size)
