"""A convolution as oneDNN sees it: its sides, the layout it is computed in, and the copies that takes.

Which layouts there are, and when which is taken, is told in `striate.costing.devices.cpu_convolution`.
"""

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Literal, cast

import torch

from striate.graph.operators import Layout, Operator, OperatorGraph, TensorSpec

PAGE = 4096
BLOCK = 16
FLAT = 3  # Channels of an image up to which it is taken as it is.
ODD = 4  # Channels of a group, of which no multiple is computed by columns.
PAIRED = 32  # Channels that matrix units sum at once.
SMALL_IMAGE = 20_480  # Elements up to which a single image goes another way, without copies.

Units = Literal["matrix", "vector", "none"]


@cache
def units_for_16_bits() -> Units:
    """Return what this CPU multiplies 16-bit floats with; without units for them, they go through 32 bits."""
    has = torch.cpu.get_capabilities()
    return "matrix" if has.get("amx_bf16") else "vector" if has.get("avx512_bf16") else "none"


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution; for a transposed one, that which it is the way back of.

    Args:
        image: what it takes.
        result: what it makes.
        kernel: results x images of a group x window.
        groups: that its channels are in.
        stride: the largest.
        dilation: the largest.
        is_transposed: whether the operator is its way back.
        units: that multiply.
        threads: that share the work.
        is_channels_last: whether maps are taken and made in that layout.
    """

    image: TensorSpec
    result: TensorSpec
    kernel: TensorSpec
    groups: int
    stride: int
    dilation: int
    is_transposed: bool
    units: Units
    threads: int
    is_channels_last: bool

    @staticmethod
    def of(operator: Operator, graph: OperatorGraph, taken: TensorSpec, made: TensorSpec) -> "Convolution":
        """Return the convolution of an operator that takes and makes these."""
        kernel, is_transposed = graph.tensor(operator, "weight"), bool(operator.arguments["transposed"])
        return Convolution(
            made if is_transposed else taken,
            taken if is_transposed else made,
            kernel,
            cast(int, operator.arguments["groups"]),
            max(cast(tuple[int, ...], operator.arguments["stride"])),
            max(cast(tuple[int, ...], operator.arguments["dilation"])),
            is_transposed,
            units_for_16_bits() if kernel.itemsize == 2 else "vector",
            torch.get_num_threads(),
            Layout.CHANNELS_LAST in (graph.tensor(operator, "input").layout, kernel.layout),
        )

    def is_onednns(self, taken: TensorSpec) -> bool:
        """Tell whether torch hands it to oneDNN; of shapes, its rule reads the last two sides or the first four."""
        if self.kernel.itemsize == 2:
            return True
        sides = (1, *self.kernel.shape[2:])[-2:]
        if self.threads == 1 and max(sides) == 1 and self.stride == 1 and taken.shape[0] < BLOCK:
            return False
        return self.groups > 1 or min(sides) > 3 or taken.shape[0] > 1 or prod(taken.shape[:4]) > SMALL_IMAGE

    def columns(self, places: TensorSpec) -> int:
        """Return the size of the matrix that holds what each window sees, for the way of small images."""
        if self.window == 1:
            return 0
        return prod(self.kernel.shape[1:]) * prod(places.shape[2:]) * self.kernel.itemsize

    def copied(self, tensor: TensorSpec) -> int:
        """Return the size of the copy that is made of a tensor in another layout."""
        is_in_both = tensor.shape[1] == 1 or prod(tensor.shape[2:]) == 1
        wanted = Layout.CHANNELS_LAST if self.is_channels_last else Layout.CONTIGUOUS
        return 0 if tensor.layout is wanted or is_in_both else tensor.size

    @property
    def window(self) -> int:
        """Places in the window."""
        return prod(self.kernel.shape[2:])

    @property
    def channels(self) -> tuple[int, int]:
        """Results and images of a group."""
        return self.kernel.shape[0] // self.groups, self.kernel.shape[1]

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks of the results and images of a group; few channels are one."""
        out, into = self.channels
        return padded(out) // BLOCK, 1 if self.takes_few else padded(into) // BLOCK

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is a group."""
        return self.groups > 1 and self.channels == (1, 1)

    @property
    def is_ragged(self) -> bool:
        """Whether it has groups that are no whole blocks."""
        return self.groups > 1 and not self.is_depthwise and any(side % BLOCK for side in self.channels)

    @property
    def is_by_columns(self) -> bool:
        """Whether its groups have so odd a number of channels that the windows are laid out as columns, in blocks."""
        return self.is_ragged and self.is_in_blocks and any(side % ODD for side in self.channels)

    @property
    def sums_in_blocks(self) -> bool:
        """Whether the kernel's gradient of groups that are no whole blocks goes through half ones all the same."""
        return self.dilation == 1 and not any(side % (BLOCK // 2) for side in self.channels)

    @property
    def takes_few(self) -> bool:
        """Whether its images have so few channels that blocks of them would be mostly empty."""
        return self.groups == 1 and self.kernel.shape[1] < BLOCK and self.window > 1

    @property
    def is_in_half_blocks(self) -> bool:
        """Whether its kernel's gradient goes through blocks of eight: few channels, but more than those of an image."""
        is_blocked = not self.is_channels_last and self.kernel.itemsize > 2
        return is_blocked and self.takes_few and self.kernel.shape[1] > FLAT

    @property
    def is_in_blocks(self) -> bool:
        """Whether it is computed in blocks; if neither so nor in channels_last, by way of channels last."""
        return not self.is_channels_last and (self.units != "matrix" or self.is_depthwise)

    @property
    def is_strided_back(self) -> bool:
        """Whether the way back goes through channels last for its stride."""
        is_wide = self.is_depthwise and self.kernel.itemsize > 2
        is_plain = not (is_wide or self.is_ragged)
        return self.units != "none" and is_plain and (self.stride > 1 or self.is_transposed)

    @property
    def image_copy(self) -> int:
        """The image in blocks; few channels are taken as they are."""
        return 0 if self.takes_few else self.blocked(self.image)

    def blocked(self, maps: TensorSpec) -> int:
        """Return the size of maps in blocks, which are not filled up where groups are no whole ones."""
        return maps.size if self.is_ragged else blocked(maps)

    def kernel_copy(self, *, is_backwards: bool = False) -> int:
        """Return the size of the kernel's copy, which is another for the way back."""
        out, into = self.channels
        size = self.window * self.kernel.itemsize
        pair = max(1, 4 // self.kernel.itemsize)
        if self.is_depthwise:
            is_paired = is_backwards and self.kernel.itemsize == 2 and self.is_strided_back
            return padded(self.groups) * size * (PAIRED if is_paired else 1)
        if self.is_ragged and self.units != "matrix":
            return self.kernel.size
        made, summed = (into, out) if is_backwards else (out, into)
        if self.is_in_blocks and not (is_backwards and self.is_strided_back):
            step = pair if self.takes_few and not is_backwards else BLOCK
        elif self.units == "none":
            step = pair if self.takes_few else BLOCK
        else:
            step = PAIRED if self.units == "matrix" and summed > BLOCK else pair
        return self.groups * padded(made) * padded(summed, step) * size

    @property
    def factor_copies(self) -> int:
        """Copies of both factors of the kernel's gradient."""
        if self.is_channels_last:
            return 0
        if not self.is_in_blocks:
            return self.result.size + self.image.size
        if self.is_ragged:
            return self.result.size + self.image.size if self.sums_in_blocks else 0
        if self.is_in_half_blocks:
            return blocked(self.result, BLOCK // 2) + blocked(self.image, BLOCK // 2)
        return blocked(self.result) + self.image_copy

    @property
    def dkernel_copy(self) -> int:
        """The kernel's gradient, as it is computed."""
        out, into = self.channels
        if self.is_depthwise or (self.is_ragged and not self.is_channels_last):
            return self.kernel_copy()
        if self.units == "matrix":
            into = padded(into, PAIRED)
        elif self.is_in_half_blocks:
            out, into = padded(out, BLOCK // 2), padded(into, BLOCK // 2)
            return out * into * self.window * self.kernel.itemsize
        elif not self.takes_few:
            into = padded(into)
        return self.groups * padded(out) * into * self.window * self.kernel.itemsize


def padded(number: int, step: int = BLOCK) -> int:
    """Return a number, such as of channels, in full blocks."""
    return -(-number // step) * step


def blocked(tensor: TensorSpec, block: int = BLOCK) -> int:
    """Return the size of maps in blocks."""
    return tensor.size // tensor.shape[1] * padded(tensor.shape[1], block)
