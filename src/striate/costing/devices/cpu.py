"""What a CPU takes inside an operator, below the dispatcher: oneDNN's reordered copies.

oneDNN, which computes convolutions on CPUs, has layouts of its own: channels in blocks of sixteen. In the default
layout (`contiguous`, N x C x H x W) it copies the images, the kernels and the results into blocks and back; in
`channels_last` it takes images as they are and copies the kernels alone. With x' the blocked copy of x:

    convolution, contiguous       max(image' + kernel' + result' - result, result')
    its backward, contiguous      max(grad' + kernel' - dkernel, 2 dimage - dkernel, grad' + image' + kernel' - dkernel,
                                  kernel'), each term only where that gradient is asked for
    channels_last                 kernel', backward 2 kernel'

A single small image goes another way, through a matrix with a column for each window. A tensor with gaps, such as a
part of the gradient of maps that were put together, is copied first.

All this was fitted to what torch 2.13 takes on a machine with AVX-512, and is a calibrated table, not a law. Scratch
that oneDNN takes for itself, up to a hundred kB on small networks, is not in it.
"""

from math import prod
from typing import cast

from striate.costing.devices.device import Device
from striate.graph.operators import Layout, Operator, OperatorGraph, TensorSpec

BLOCK = 16
SMALL_IMAGE = 20_480  # Elements up to which a single image goes another way, without copies.


def cpu_bytes(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that an operator takes on a CPU beyond what it reads and makes."""
    if operator.name == "aten.convolution.default":
        return _forward(operator, graph)
    if operator.name == "aten.convolution_backward.default":
        return _backward(operator, graph)
    return 0


def _forward(operator: Operator, graph: OperatorGraph) -> int:
    image, kernel = graph.tensor(operator, "input"), graph.tensor(operator, "weight")
    result = graph.tensors[operator.outputs[0]]
    if not _is_onednns(operator, image, kernel):
        return _columns(kernel, result)
    copied = _copied(image)
    if Layout.CHANNELS_LAST in (image.layout, kernel.layout):
        return copied + _blocked_kernel(kernel)
    blocked = _blocked(result)
    return copied + max(_blocked_input(image) + _blocked_kernel(kernel) + blocked - result.size, blocked)


def _backward(operator: Operator, graph: OperatorGraph) -> int:
    grad, image, kernel = (graph.tensor(operator, name) for name in ("grad_output", "input", "weight"))
    if not _is_onednns(operator, image, kernel):
        return _columns(kernel, grad)
    copied, blocked_kernel = _copied(grad) + _copied(image), _blocked_kernel(kernel)
    if Layout.CHANNELS_LAST in (image.layout, kernel.layout):
        return copied + 2 * blocked_kernel
    wants_image, wants_kernel, _ = cast(tuple[bool, bool, bool], operator.arguments["output_mask"])
    dkernel = kernel.size if wants_kernel else 0
    terms = [blocked_kernel]
    if wants_image:
        terms += [_blocked(grad) + blocked_kernel - dkernel, 2 * image.size - dkernel]
    if wants_kernel:
        terms.append(_blocked(grad) + _blocked_input(image) + blocked_kernel - dkernel)
    return copied + max(terms)


def _is_onednns(operator: Operator, image: TensorSpec, kernel: TensorSpec) -> bool:
    groups = cast(int, operator.arguments["groups"])
    return groups > 1 or max(kernel.shape[2:]) > 3 or image.shape[0] > 1 or prod(image.shape) > SMALL_IMAGE


def _columns(kernel: TensorSpec, result: TensorSpec) -> int:
    """Return the size of the matrix that holds what each window sees, for the way of small images."""
    if prod(kernel.shape[2:]) == 1:
        return 0
    return prod(kernel.shape[1:]) * prod(result.shape[2:]) * kernel.itemsize


def _copied(tensor: TensorSpec) -> int:
    """Return the size of the copy that is made of a tensor with gaps."""
    return tensor.size if tensor.layout is Layout.STRIDED else 0


def _padded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def _blocked(tensor: TensorSpec) -> int:
    """Return the size of maps in blocks."""
    count, channels, *places = tensor.shape
    return count * _padded(channels) * prod(places) * tensor.itemsize


def _blocked_input(tensor: TensorSpec) -> int:
    """Return the size of an input's copy in blocks; few channels are taken as they are."""
    return 0 if tensor.shape[1] < BLOCK else _blocked(tensor)


def _blocked_kernel(tensor: TensorSpec) -> int:
    out, into, *window = tensor.shape
    inside = into if into < BLOCK else _padded(into)
    return _padded(out) * inside * prod(window) * tensor.itemsize


def cpu() -> Device:
    """Return what this machine's CPU adds."""
    return Device("CPU", int, cpu_bytes, _notes)


def _notes(_graph: OperatorGraph) -> list[str]:
    return []
