"""The table of a network's layers: what comes out of each, and where its parameters come from.

The network runs once on tensors of torch's `meta` device, which have a shape but no memory, so that any network is
counted in the same few megabytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer of a network, in the order in which it first runs.

    Args:
        name: its path in the network.
        kind: what operation it is.
        output_shape: of one image's output, without the batch; empty for a layer that does not run at prediction.
        parameters: trained numbers that are its own.
        arithmetic: how that number comes about; empty where there are none.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    arithmetic: str


def layer_costs(network: nn.Module, input_shape: tuple[int, ...]) -> list[LayerCost]:
    """Return a network's layers, those without children, in the order in which they run.

    Args:
        network: any module that takes one tensor; neither its weights nor its mode are changed.
        input_shape: of one image, channels x height x width.

    A layer that runs twice is listed once, with its first output. Parameters held by a module that has children are
    listed under that module's own name. Layers that hold parameters and do not run, such as heads for training alone,
    come last, so that the parameters always add up to the network's.
    """
    layers: dict[str, LayerCost] = {}
    held: dict[str, LayerCost] = {}
    shared: set[int] = set()
    hooks = []
    for name, module in network.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in shared]
        shared.update(map(id, own))
        count = sum(p.numel() for p in own)
        if count == 0 and (any(module.children()) or isinstance(module, nn.Identity)):
            continue

        def record(module: nn.Module, args: Any, output: Any, *, name: str = name, count: int = count) -> None:
            tensor = _first_tensor(output)
            if name not in layers and (count or tensor is not None):
                layers[name] = _layer(name, module, () if tensor is None else tuple(tensor.shape[1:]), count)

        hooks.append(module.register_forward_hook(record))
        if count:
            held[name] = _layer(name, module, (), count)
    training = {module: module.training for module in network.modules()}
    meta = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    try:
        with torch.no_grad():
            dtype = next((tensor.dtype for tensor in network.parameters()), None)
            functional_call(network.eval(), meta, (torch.empty(1, *input_shape, device="meta", dtype=dtype),))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
    return [*layers.values(), *(layer for name, layer in held.items() if name not in layers)]


def _layer(name: str, module: nn.Module, shape: tuple[int, ...], count: int) -> LayerCost:
    return LayerCost(name, type(module).__name__, shape, count, parameter_arithmetic(module) if count else "")


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    return next((tensor for tensor in map(_first_tensor, parts) if tensor is not None), None)


def total_parameters(layers: Sequence[LayerCost]) -> int:
    """Return the trained numbers of all layers together."""
    return sum(layer.parameters for layer in layers)


def parameter_arithmetic(module: nn.Module) -> str:
    """Return how a layer's parameter count comes about, such as ``(5·5·1 + 1)·6`` for a convolution.

    Every factor is read from the layer's settings, not from its tensors, so that it is an account and not an echo.
    A kind of layer without a rule of its own is given as the sum of its tensors.
    """
    for kinds, rule in _RULES:
        if isinstance(module, kinds):
            return rule(module)
    return " + ".join("·".join(str(side) for side in p.shape) or "1" for p in module.parameters(recurse=False))


def _convolution(module: Any) -> str:
    window = "·".join(str(side) for side in module.kernel_size)
    into = str(module.in_channels) if module.groups == 1 else f"{module.in_channels}/{module.groups}"
    return _with_bias(f"{window}·{into}", module.bias is not None, module.out_channels)


def _transposed(module: Any) -> str:
    window = "·".join(str(side) for side in module.kernel_size)
    out = str(module.out_channels) if module.groups == 1 else f"{module.out_channels}/{module.groups}"
    weights = f"{window}·{module.in_channels}·{out}"
    return f"{weights} + {module.out_channels}" if module.bias is not None else weights


def _dense(module: Any) -> str:
    return _with_bias(f"{module.in_features}", module.bias is not None, module.out_features)


def _norm(module: Any) -> str:
    return f"2·{module.num_features}"


def _with_bias(weights: str, bias: bool, out: int) -> str:
    return f"({weights} + 1)·{out}" if bias else f"{weights}·{out}"


_RULES: list[tuple[Any, Callable[[Any], str]]] = [
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    (nn.Linear, _dense),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _norm),
]
