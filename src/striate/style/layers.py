"""Which maps of a network say what a picture shows, and which in what style.

Gatys, Ecker and Bethge, 2016, section 3, take of VGG-19 relu1_1 to relu5_1 for the style, which are the first maps of
each of its strides, and relu4_2 for the content, the second of stride 8. Of any network, the same are found by their
strides; what counts as a map is what an activation or a block of layers gives.

The last maps of each stride are held out: a picture is judged on maps that it was not painted by.
"""

from collections.abc import Iterator, Sequence
from math import log2
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from striate.errors import UsageError

CONTENT_STRIDE = 8
LARGEST_STRIDE = 16
PROBE = 256  # Pixels of the square on which strides are read off.

Row = Sequence[tuple[str, nn.Module]]


class Layers(NamedTuple):
    """Maps of a network by the names of what makes them.

    Args:
        content: the one that says what a picture shows.
        style: those that say in what style, from fine to coarse.
        held_out: others, for both; the last of them for the content.
    """

    content: str
    style: tuple[str, ...]
    held_out: tuple[str, ...]


def row_of(features: nn.Sequential) -> list[tuple[str, nn.Module]]:
    """Return the layers and blocks of a network's features in the order in which they run, by their paths."""
    return list(_row(features, ""))


def _row(layers: nn.Sequential, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in layers.named_children():
        if type(child) is nn.Sequential:
            yield from _row(child, f"{path}{name}.")
        else:
            yield f"{path}{name}", child


def choose_layers(row: Row, channels: int = 3) -> Layers:
    """Return the maps of a network that a picture is painted by.

    Args:
        row: its layers, as `row_of` has them.
        channels: of its images.

    Raises:
        UsageError: for a network with too few maps to hold any out.
    """
    by_stride: dict[int, list[str]] = {}
    for name, shape in map_shapes(row, (PROBE, PROBE), channels).items():
        # To the nearest power of two: without padding, maps are a little smaller.
        stride = 2 ** round(log2(PROBE / shape[-1]))
        if stride <= LARGEST_STRIDE:
            by_stride.setdefault(stride, []).append(name)
    style = tuple(names[0] for names in by_stride.values())
    maps = by_stride.get(CONTENT_STRIDE) or [*style[-1:]]
    content = maps[min(1, len(maps) - 1)] if maps else ""
    held_out = tuple(names[-1] for names in by_stride.values() if names[-1] not in (content, *style))
    if not held_out:
        raise UsageError(
            expected="a network with several maps of one stride, by the last of which a picture is judged",
            received=f"one with {', '.join(style) or 'none'}",
            remedy="Take vgg19, as the paper did, vgg16 or squeezenet1_0.",
        )
    return Layers(content, style, held_out)


def map_shapes(row: Row, size: tuple[int, int], channels: int = 3) -> dict[str, tuple[int, ...]]:
    """Return the shape of each map of an image of (height, width), without computing anything.

    Raises:
        RuntimeError: for an image so small that nothing is left of it.
    """
    found = {}
    x = torch.empty(1, channels, *size, device="meta")
    with torch.no_grad():
        for name, module in row:
            x = functional_call(module, _bare(module), (x,))
            if _gives_maps(module):
                found[name] = tuple(x.shape)
    return found


def _bare(module: nn.Module) -> dict[str, Tensor]:
    held = (*module.named_parameters(), *module.named_buffers())
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in held}


def _gives_maps(module: nn.Module) -> bool:
    is_activation = type(module).__module__ == nn.ReLU.__module__
    return is_activation or any(True for _ in module.children())
