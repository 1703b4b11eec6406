"""A network run on an image part by part, within a budget, with the result of the whole image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from math import ceil, sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.costing.devices.device import Device
from striate.costing.memory import Moment, find_peak, timeline
from striate.errors import BudgetError
from striate.graph.programs import Inference
from striate.inference.tiles.passes import Passes, Sweep
from striate.inference.tiles.running import Collecting, PartProgram, Pooling, run_once
from striate.inference.tiles.steps import Region, whole
from striate.shapes import Span
from striate.units import format_bytes

TRACED = 2  # Parts of each way to divide a map, of which the exact peak is found.
Read = Callable[[Region], Float[Tensor, "1 C h w"]]


@dataclass(frozen=True, slots=True)
class Tile:
    """One part is done.

    Args:
        done: parts of all sweeps.
        total: of them.
        region: of the network's output; None in a sweep that only prepares, and of an output that is no map.
        values: of that region, or that output; None in a sweep that only prepares.
    """

    done: int
    total: int
    region: Region | None = None
    values: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """How a sweep's map is divided, and what that takes.

    Args:
        rows: parts on top of each other.
        columns: parts side by side.
        peak: predicted bytes of tensors alive at once, with all that is there throughout.
    """

    rows: int
    columns: int
    peak: int


class Tiled:
    """A network on images of one size.

    Args:
        network: any module, of one image to one tensor.
        image: 1 x C x H x W, whose values do not matter; its type and layout are those that parts will have.
        device: that it runs on.
        memory: bytes that prediction may take, the network's own included; None for the whole image at once.
        reserved: bytes of these that others hold meanwhile, such as the image and the result.

    Raises:
        BudgetError: where the smallest parts take more, with the layer that takes most.
        StriateError: for a network that cannot be run part by part.
    """

    def __init__(
        self, network: nn.Module, image: Tensor, device: Device, memory: int | None = None, *, reserved: int = 0
    ) -> None:
        network.eval()
        self.passes, self._like, self._device = Passes(network, image), image, device
        self._own = reserved + sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
        self._reserved, self._memory = reserved, memory
        self._resident = {sweep: self.passes.resident_in(sweep) for sweep in self.passes.sweeps}
        self.grids = {sweep: self._grid(sweep) for sweep in self.passes.sweeps}
        for index in self.passes.once:
            if memory is not None and self._size_once(index) > memory:
                raise self._refusal(self._size_once(index), f"{self.passes.layer_of(index)}, which sees the whole map")

    @property
    def peak(self) -> int:
        """Predicted bytes alive at once, those that are reserved included."""
        once = [self._size_once(index) for index in self.passes.once]
        return max([grid.peak for grid in self.grids.values()] + once, default=self._own)

    @property
    def parts(self) -> int:
        """Of all sweeps together."""
        return sum(grid.rows * grid.columns for grid in self.grids.values())

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the whole result."""
        return self.passes.shape(self.passes.output)

    def run(self, read: Read) -> Iterator[Tile]:
        """Yield the parts of the result, row by row, and before them what only prepares.

        Args:
            read: returns a part of the image, which the network may change: no view of what is read again.
        """
        passes, done = self.passes, count(1)
        resident: dict[int, Tensor] = {}
        for index in passes.once:
            operator, given = passes.graph.operators[index], dict[int, Tensor]()
            sweeps = [sweep for sweep in passes.sweeps if sweep.before == index]
            for sweep in sweeps:
                gathered: Pooling | Collecting = (Pooling if sweep.pools else Collecting)(passes, sweep)
                for region, part in self._sweep(sweep, resident, read):
                    gathered.add(part, region)
                    del part
                    yield Tile(next(done), self.parts)
                given[operator.outputs[0] if sweep.pools else sweep.map] = gathered.result()
            pools = any(sweep.pools for sweep in sweeps)
            resident.update(given if pools else run_once(passes, index, resident | given))
            for tensor in [tensor for tensor in resident if not passes.is_wanted_after(tensor, index)]:
                del resident[tensor]
        if passes.output in resident:
            result = resident[passes.output]
            yield Tile(self.parts, self.parts, whole(result.shape) if result.ndim > 2 else None, result)
        else:
            for region, part in self._sweep(passes.sweeps[-1], resident, read):
                tile = Tile(next(done), self.parts, region, part)
                del part
                yield tile
                del tile

    def _sweep(self, sweep: Sweep, resident: dict[int, Tensor], read: Read) -> Iterator[tuple[Region, Tensor]]:
        grid = self.grids[sweep]
        for region in _regions(self.passes.shape(sweep.map), grid.rows, grid.columns):
            program = PartProgram(self.passes, sweep, region, self._resident[sweep])
            image = read(program.image_region)
            with torch.inference_mode():
                part = program(image, *(resident[tensor] for tensor in self._resident[sweep]))
            del image
            yield region, part
            del part

    def _grid(self, sweep: Sweep) -> Grid:
        """Return few parts that keep to the budget."""
        *_, height, width = self.passes.shape(sweep.map)
        few, enough, parts = 0, 0, 1  # So many parts take too much; so many do not; so many are tried.
        found: Grid | None = None
        while not enough or enough - few > max(1, few // 8):
            rows, columns = _divided(height, width, parts)
            grid, moment = self._priced(sweep, rows, columns)
            if self._memory is None or grid.peak <= self._memory:
                found, enough = grid, parts
            elif (rows, columns) == (height, width):
                raise self._refusal(grid.peak, moment.place)
            else:
                few = parts
            parts = (few + enough) // 2 if enough else 4 * parts
        assert found is not None
        return found

    def _refusal(self, size: int, place: str) -> BudgetError:
        return BudgetError(
            expected=f"--memory of {format_bytes(size)} or more, even part by part",
            received=format_bytes(self._memory or 0),
            remedy=f"Most is taken at {place}. Grant more, or take a smaller network.",
        )

    def _priced(self, sweep: Sweep, rows: int, columns: int) -> tuple[Grid, Moment]:
        """Return what dividing a sweep's map so takes, and where most of it is."""
        regions = _regions(self.passes.shape(sweep.map), rows, columns)
        # Those at an edge see less around them, but have it filled up; the largest few are traced.
        kinds = {_kind(region, regions): region for region in regions}
        largest = sorted(kinds.values(), key=lambda region: self.passes.estimate(sweep, region))[-TRACED:]
        moment = max((self._traced(sweep, region) for region in largest), key=lambda moment: moment.size)
        besides = self._reserved
        if not sweep.layer:  # Whoever asks for the parts holds the one before, while the next is made.
            besides += max(self.passes.bytes_of(sweep.map, region) for region in regions)
        elif not sweep.pools:
            besides += self.passes.graph.tensors[sweep.map].size
        return Grid(rows, columns, moment.size + besides), moment

    def _traced(self, sweep: Sweep, region: Region) -> Moment:
        """Return the moment at which one part takes most."""
        passes, needed = self.passes, self._resident[sweep]
        program = PartProgram(passes, sweep, region, needed)
        size = program.image_region.size
        image = torch.empty(*self._like.shape[:2], *size, dtype=self._like.dtype, device="meta")
        if self._like.is_contiguous(memory_format=torch.channels_last):
            image = image.contiguous(memory_format=torch.channels_last)
        there = [
            torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device="meta")
            for spec in (passes.graph.tensors[tensor] for tensor in needed)
        ]
        return find_peak(timeline(self._device.traced(Inference(program, [image, *there])), self._device))

    def _size_once(self, index: int) -> int:
        """Return the bytes alive during an operator that runs once."""
        operator, tensors = self.passes.graph.operators[index], self.passes.graph.tensors
        there = {tensor for resident in self._resident.values() for tensor in resident}
        used = {tensor for tensor in (*operator.inputs, *operator.outputs) if tensor not in self.passes.held}
        return self._own + sum(tensors[tensor].size for tensor in there | used)


def _kind(region: Region, regions: list[Region]) -> tuple[object, ...]:
    """Return what tells a part's size and place from others': parts in the middle of one size are alike."""
    first, last = regions[0], regions[-1]
    rows = region.rows.start == first.rows.start, region.rows.end == last.rows.end
    across = region.columns.start == first.columns.start, region.columns.end == last.columns.end
    return rows, across, region.size


def _divided(height: int, width: int, count: int) -> tuple[int, int]:
    """Return so many rows and columns of parts that there are about ``count``, as square as can be."""
    side = sqrt(height * width / count)
    rows = min(max(round(height / side), 1), height)
    return rows, min(max(ceil(count / rows), 1), width)


def _regions(shape: tuple[int, ...], rows: int, columns: int) -> list[Region]:
    *_, height, width = shape
    return [Region(down, across) for down in _spans(height, rows) for across in _spans(width, columns)]


def _spans(size: int, count: int) -> list[Span]:
    edges = [size * place // count for place in range(count + 1)]
    return [Span(start, end) for start, end in pairwise(edges) if end > start]
