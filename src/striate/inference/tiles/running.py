"""Running the operators of a sweep on a part of the image, and adding up or putting together what comes out."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from striate.inference.tiles.passes import Passes, Sweep, pooled_sizes
from striate.inference.tiles.steps import Part, Region, call, whole


class PartProgram(nn.Module):
    """One part of a sweep, as a module: from a part of the image and what is there whole to a part of the map.

    Args:
        passes: of the network.
        sweep: of these.
        region: of the sweep's map.
        resident: indices of the tensors that are there whole, in the order in which they are given.
    """

    def __init__(self, passes: Passes, sweep: Sweep, region: Region, resident: Sequence[int]) -> None:
        super().__init__()
        self.network = passes.network
        self._passes, self._sweep, self._region, self._resident = passes, sweep, region, tuple(resident)
        (_, self.image_region), *self._parts = passes.parts_of(sweep, region)
        last = {tensor: place for place, (index, _) in enumerate(self._parts) for tensor in passes.steps[index].maps}
        self._dying: list[list[int]] = [[] for _ in self._parts]
        for tensor, place in last.items():
            if tensor != sweep.map:
                self._dying[place].append(tensor)

    def forward(self, image: Tensor, *resident: Tensor) -> Tensor:
        """Return the part of the sweep's map."""
        passes = self._passes
        values: dict[int, Tensor | Part] = {passes.image: Part(image, self.image_region)}
        values.update(zip(self._resident, resident, strict=True))
        values.update({index: _named(self.network, name) for index, name in passes.held.items()})
        del image
        for (index, region), dying in zip(self._parts, self._dying, strict=True):
            step = passes.steps[index]
            made = step.run(values, region)
            for tensor, value in zip(step.operator.outputs, made, strict=False):
                if isinstance(value, Tensor):
                    values[tensor] = Part(value, region)
            del made, value
            for tensor in dying:
                del values[tensor]
        part = values[self._sweep.map]
        assert isinstance(part, Part)
        return part.cut(self._region)


def _named(network: nn.Module, name: str) -> Tensor:
    home, _, attribute = name.rpartition(".")
    tensor: Tensor = getattr(network.get_submodule(home), attribute)
    return tensor


def run_once(passes: Passes, index: int, values: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Run an operator whose inputs are all there whole; return what it makes, by its index."""
    operator = passes.graph.operators[index]

    def value(tensor: int) -> Tensor:
        return values[tensor] if tensor in values else _named(passes.network, passes.held[tensor])

    with torch.inference_mode():
        made = call(operator, value)
    outputs = made if isinstance(made, tuple | list) else (made,)
    return {tensor: each for tensor, each in zip(operator.outputs, outputs, strict=False) if each is not None}


class Collecting:
    """All of a map, put together part by part.

    Args:
        passes: of the network.
        sweep: over the map.
    """

    def __init__(self, passes: Passes, sweep: Sweep) -> None:
        self._shape = passes.shape(sweep.map)
        self._whole: Tensor | None = None

    def add(self, part: Tensor, region: Region) -> None:
        """Take in a part of the map."""
        if self._whole is None:
            self._whole = part.new_empty(self._shape)
        Part(self._whole, whole(self._shape)).cut(region).copy_(part)

    def result(self) -> Tensor:
        """Return the map."""
        assert self._whole is not None
        return self._whole


class Pooling:
    """Means over a map, added up part by part.

    Args:
        passes: of the network.
        sweep: over the map.
    """

    def __init__(self, passes: Passes, sweep: Sweep) -> None:
        operator = passes.graph.operators[sweep.before]
        sizes = pooled_sizes(operator, passes.graph)
        assert sizes is not None
        *_, height, width = passes.shape(sweep.map)
        self._rows, self._columns = _shares(height, sizes[0]), _shares(width, sizes[1])
        self._sums: Tensor | None = None
        self._shape = passes.shape(operator.outputs[0])

    def add(self, part: Tensor, region: Region) -> None:
        """Take in a part of the map."""
        rows, columns = (
            shares[:, span.start : span.end].to(part)
            for shares, span in zip((self._rows, self._columns), region, strict=True)
        )
        sums = (rows @ part @ columns.T).double()
        self._sums = sums if self._sums is None else self._sums + sums
        self._dtype = part.dtype

    def result(self) -> Tensor:
        """Return the means."""
        assert self._sums is not None
        return self._sums.to(self._dtype).reshape(self._shape)


def _shares(before: int, after: int) -> Tensor:
    """Return how much each of ``before`` places counts in each of ``after`` means, after x before."""
    shares = torch.zeros(after, before, dtype=torch.float64)
    for place in range(after):
        start, end = place * before // after, -(-(place + 1) * before // after)
        shares[place, start:end] = 1 / (end - start)
    return shares
