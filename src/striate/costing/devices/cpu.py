"""What a CPU takes inside an operator, below the dispatcher.

Most operators take no more than the tensors that they read and make. The others are here, each with what its library
allocates and frees again before it returns:

    convolution, matrix       oneDNN's copies and scratch (`striate.costing.devices.cpu_convolution` and
    product, LSTM             `cpu_products`)
    mixed types               an operator on two tensors of different types first converts one to the type of the result
    sums and means            of integers, and means of 16-bit floats, convert what they add up
    gradient of batch norm    made twice over: what was allocated for it is allocated again, in the layout of its input
    gradient of pooling       and layer norm: what is in another layout than the operator's is copied; of adaptive
                              pooling, all that is made in channels_last is made twice
    attention                 for each thread, a block of scores and of what they weigh
    gradient of bags          where each of what is in them belongs, sorted; of largest ones, copies of what goes back

All this was fitted to what torch 2.13 takes on CPUs with AVX-512, with and without units for 16-bit floats, and is a
calibrated table, not a law: `uncalibrated_machine` and `is_uncalibrated` tell where it was not fitted. Scratch in
proportion to the channels alone, a few kilobytes, is not in it.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Final

import torch

from striate.costing.devices.cpu_convolution import backward_bytes, forward_bytes
from striate.costing.devices.cpu_products import (
    attention_bytes,
    encoder_bytes,
    heads_bytes,
    lstm_bytes,
    lstm_workspace,
    product_bytes,
)
from striate.costing.devices.device import Device
from striate.graph.operators import Layout, Operator, OperatorGraph, TensorIndex, TensorSpec

Bytes = Callable[[Operator, OperatorGraph], int]

VERSION = "2.13"
CAPABILITY = "AVX512"
FITTED_TYPES = ("float32", "bfloat16")
LARGEST = 2  # torch's number for bags of which the largest is taken.


def cpu() -> Device:
    """Return what this machine's CPU adds."""
    return Device("CPU", int, cpu_bytes, _notes, lambda _graph: {}, _with_workspaces)


def _with_workspaces(graph: OperatorGraph) -> OperatorGraph:
    """Return a graph with what the layers of an LSTM keep for their gradients."""
    storages = list(graph.storages)
    for operator in graph.operators:
        if operator.kind == "mkldnn_rnn_layer" and operator.arguments.get("train"):
            index = graph.tensors[operator.outputs[-1]].storage
            storages[index] = replace(storages[index], size=lstm_workspace(operator, graph))
    return replace(graph, storages=tuple(storages))


def _notes(graph: OperatorGraph) -> list[str]:
    machine = uncalibrated_machine()
    notes = [] if machine is None else [f"{machine} --verify measures."]
    odd = sorted({operator.kind for operator in graph.operators if is_uncalibrated(operator, graph)})
    if odd:
        notes.append(f"What {', '.join(odd)} takes inside was not fitted to this type of numbers. --verify measures.")
    return notes


def cpu_bytes(operator: Operator, graph: OperatorGraph) -> int:
    """Return the bytes that an operator takes on a CPU beyond what it reads and makes."""
    inside = TABLE.get(operator.name)
    return 0 if inside is None else inside(operator, graph)


def uncalibrated_machine() -> str | None:
    """Return a sentence on what here differs from where the table was fitted; None where nothing does."""
    if not torch.__version__.startswith(f"{VERSION}."):
        return f"What operators take inside was fitted to torch {VERSION}, and this is torch {torch.__version__}."
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "What operators take inside was fitted to torch with oneDNN, and this torch is built without."
    capability = torch.backends.cpu.get_cpu_capability()
    if capability != CAPABILITY:
        return f"What operators take inside was fitted to CPUs with {CAPABILITY}, and this one has {capability}."
    return None


def is_uncalibrated(operator: Operator, graph: OperatorGraph) -> bool:
    """Tell whether the table has an operator, but was never fitted to the type that it computes in."""
    if operator.name not in LIBRARY:
        return False
    return any(graph.tensors[index].dtype not in FITTED_TYPES for index in operator.outputs[:1])


def _mixed_types(operator: Operator, graph: OperatorGraph) -> int:
    made = graph.tensors[operator.outputs[0]]
    read = (graph.tensors[index] for index in operator.inputs)
    return sum(prod(it.shape) * made.itemsize for it in read if it.shape and it.dtype != made.dtype)


def _sum(operator: Operator, graph: OperatorGraph) -> int:
    read, made = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    return prod(read.shape) * made.itemsize if read.dtype != made.dtype else 0


def _mean(operator: Operator, graph: OperatorGraph) -> int:
    read, made = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    return 4 * (prod(read.shape) + prod(made.shape)) if read.itemsize == 2 else 0


def _batch_norm_backward(operator: Operator, graph: OperatorGraph) -> int:
    image, grad = graph.tensor(operator, "input"), graph.tensor(operator, "grad_out")
    return image.size if image.layout is grad.layout is not Layout.STRIDED else 0


def _pool_backward(operator: Operator, graph: OperatorGraph) -> int:
    grad, made = graph.tensor(operator, "grad_output"), graph.tensors[operator.outputs[0]]
    layout = Layout.CHANNELS_LAST if grad.layout is Layout.CHANNELS_LAST else Layout.CONTIGUOUS
    indices = operator.arguments.get("indices")
    others = [graph.tensors[indices.index]] if isinstance(indices, TensorIndex) else []
    return sum(_copied(tensor, layout) for tensor in (grad, made, *others))


def _adaptive_pool_backward(operator: Operator, graph: OperatorGraph) -> int:
    made = graph.tensors[operator.outputs[0]]
    return made.size if made.layout is Layout.CHANNELS_LAST else 0


def _layer_norm(operator: Operator, graph: OperatorGraph) -> int:
    return _copied(graph.tensor(operator, "input"), Layout.CONTIGUOUS)


def _layer_norm_backward(operator: Operator, graph: OperatorGraph) -> int:
    read = (graph.tensor(operator, name) for name in ("grad_out", "input"))
    return sum(_copied(tensor, Layout.CONTIGUOUS) for tensor in read)


def _bags(operator: Operator, graph: OperatorGraph) -> int:
    """Return what tells to which bag each belongs, where that is more than what comes after it."""
    bags, largest = (graph.tensors[operator.outputs[place]] for place in (1, 3))
    return max(bags.size - largest.size, 0) if operator.arguments.get("mode") == LARGEST else 0


def _bags_backward(operator: Operator, graph: OperatorGraph) -> int:
    if operator.arguments.get("mode") == LARGEST:
        copied = (graph.tensor(operator, name) for name in ("grad", "maximum_indices"))
        return sum(tensor.size for tensor in copied)
    indices = graph.tensor(operator, "indices")
    return prod(indices.shape) * (36 if indices.itemsize == 8 else 24)


def _safe_softmax(operator: Operator, graph: OperatorGraph) -> int:
    """Return the size of the mask of rows in which nothing is left to look at."""
    return prod(graph.tensors[operator.outputs[0]].shape)


def _copied(tensor: TensorSpec, wanted: Layout) -> int:
    return 0 if tensor.layout is wanted or prod(tensor.shape[2:]) == 1 else tensor.size


LIBRARY: Final[dict[str, Bytes]] = {
    "aten.convolution.default": forward_bytes,
    "aten.convolution_backward.default": backward_bytes,
    "aten.mkldnn_rnn_layer.default": lstm_bytes,
    "aten.mkldnn_rnn_layer_backward.default": lstm_bytes,
    "aten._native_multi_head_attention.default": heads_bytes,
    "aten._transformer_encoder_layer_fwd.default": encoder_bytes,
    "aten.addmm.default": product_bytes,
    "aten.mm.default": product_bytes,
}

TABLE: Final[dict[str, Bytes]] = {
    **LIBRARY,
    **{f"aten.{name}{ending}.Tensor": _mixed_types for name in ("add", "sub", "mul", "div") for ending in ("", "_")},
    "aten.sum.default": _sum,
    "aten.sum.dim_IntList": _sum,
    "aten.mean.default": _mean,
    "aten.mean.dim": _mean,
    "aten.native_batch_norm_backward.default": _batch_norm_backward,
    "aten.avg_pool2d_backward.default": _pool_backward,
    "aten.avg_pool3d_backward.default": _pool_backward,
    "aten.max_pool2d_with_indices_backward.default": _pool_backward,
    "aten.max_pool3d_with_indices_backward.default": _pool_backward,
    "aten._adaptive_avg_pool2d_backward.default": _adaptive_pool_backward,
    "aten.native_layer_norm.default": _layer_norm,
    "aten.native_layer_norm_backward.default": _layer_norm_backward,
    "aten._safe_softmax.default": _safe_softmax,
    "aten._embedding_bag.default": _bags,
    "aten._embedding_bag_backward.default": _bags_backward,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": attention_bytes,
    "aten._scaled_dot_product_flash_attention_for_cpu_backward.default": attention_bytes,
}
