"""How a network's operators are run on parts of an image: which as often as there are parts, which once and between.

Most operators make of a part of a map what they make there of the whole. Those that look at all of it, such as the mean
over the map in squeeze-and-excitation, end a sweep: in it the operators ahead of them run part by part, and what they
need of each part is added up or put together. What they make is then there whole in all sweeps after it. So a network
with n such operators in a row takes n + 1 sweeps, each of which runs all that is ahead once more; nothing else would
keep to memory that does not grow with the image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from striate.errors import StriateError
from striate.graph.operators import BEFORE, Operator, OperatorGraph, Role
from striate.graph.programs import Inference
from striate.graph.trace import trace
from striate.graph.windows import ADAPTIVE
from striate.inference.tiles.kinds import find_step
from striate.inference.tiles.steps import Part, Region, Step, call, whole

LAST_TWO = {-1, -2}


@dataclass(frozen=True, slots=True)
class Sweep:
    """The parts of a map, one after the other.

    Args:
        map: index of the tensor.
        before: operators from this one on do not run in it.
        pools: whether means over the map are taken; else all of it is put together.
        layer: that wants it; empty for the network's own output.
    """

    map: int
    before: int
    pools: bool = False
    layer: str = ""


class Passes:
    """A network's operators on one size of image, ordered into sweeps.

    Args:
        network: any module, of one image to one tensor; in evaluation mode.
        image: 1 x C x H x W, whose values do not matter.

    Raises:
        StriateError: for a network that holds tensors which are neither parameters nor buffers, changes a map in place
            that it looks at in two ways, or gives several outputs.
    """

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        self.network = network
        self.graph = trace(Inference(network, [image]))
        (self.image,) = self.graph.inputs
        self.output = _only_output(self.graph)
        self.held = self._held()
        self.maps = {self.image}
        self.steps: dict[int, Step] = {}
        self.sweeps: list[Sweep] = []
        self.once: list[int] = []
        for index, operator in enumerate(self.graph.operators):
            self._place(index, operator)
        if self.output in self.maps:
            self.sweeps.append(Sweep(self.output, len(self.graph.operators)))
        self._expect_one_view()

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a tensor's shape on the whole image."""
        return self.graph.tensors[tensor].shape

    def layer_of(self, index: int) -> str:
        """Return what to call the layer of an operator."""
        operator = self.graph.operators[index]
        return self.graph.layer_of(operator) or operator.kind

    def is_wanted_after(self, tensor: int, last: int) -> bool:
        """Tell whether a tensor that is there whole is needed once more, after some operator or part by part."""
        return tensor == self.output or any(
            tensor in operator.inputs and (index > last or index in self.steps)
            for index, operator in enumerate(self.graph.operators)
        )

    def resident_in(self, sweep: Sweep) -> tuple[int, ...]:
        """Return the tensors that are there whole during a sweep."""
        made = {t for index in self.once if index < sweep.before for t in self.graph.operators[index].outputs}
        steps = (step for index, step in self.steps.items() if index < sweep.before)
        return tuple(sorted(made.intersection(*[[t for step in steps for t in step.operator.inputs]])))

    def parts_of(self, sweep: Sweep, region: Region) -> "list[tuple[int, Region]]":
        """Return which operators make a part of a sweep's map, in order, and which part each of them makes.

        The first is the image itself, as operator `BEFORE`.
        """
        needed = {sweep.map: region}
        found: list[tuple[int, Region]] = []
        for index in range(sweep.before - 1, BEFORE, -1):
            step = self.steps.get(index)
            if step is None:
                continue
            made = [needed[tensor] for tensor in step.operator.outputs if tensor in needed]
            if not made:
                continue
            out = made[0]
            for other in made[1:]:
                out = out.joined(other)
            found.append((index, out))
            for tensor in step.maps:
                wanted = step.needs(out).clipped(self.shape(tensor))
                needed[tensor] = wanted.joined(needed[tensor]) if tensor in needed else wanted
        found.append((BEFORE, needed.get(self.image, whole((1, 1)))))
        return found[::-1]

    def _held(self) -> dict[int, str]:
        """Return the names of the network's own tensors, by their index."""
        own = {name: tuple(tensor.shape) for name, tensor in _tensors(self.network)}
        names: dict[int, str] = {}
        for index, spec in enumerate(self.graph.tensors):
            storage = self.graph.storages[spec.storage]
            if storage.role in (Role.PARAMETER, Role.BUFFER):
                if own[storage.name] == spec.shape and index not in names:
                    names[index] = storage.name
            elif storage.born == BEFORE and storage.role is not Role.INPUT:
                raise StriateError(
                    expected="a network whose tensors are all parameters or buffers, to run it part by part",
                    received=f"one of shape {spec.shape} that is neither",
                    remedy="Keep it by register_buffer.",
                )
        return names

    def _place(self, index: int, operator: Operator) -> None:
        maps = tuple(dict.fromkeys(tensor for tensor in operator.inputs if tensor in self.maps))
        step = find_step(operator, self.graph, maps)
        if step is not None and (maps or _grows(operator, self.graph)):
            self.steps[index] = step
            self.maps.update(operator.outputs)
            return
        self.once.append(index)
        pools = bool(maps) and _pooled_sizes(operator, self.graph) is not None
        self.sweeps += [Sweep(tensor, index, pools, self.layer_of(index)) for tensor in maps]
        self.maps.difference_update(operator.outputs)

    def _expect_one_view(self) -> None:
        """Refuse maps that are changed in place through one view, and read through another."""
        made = {self.image: BEFORE}
        read = {self.output: len(self.graph.operators)}
        for index, operator in enumerate(self.graph.operators):
            read.update(dict.fromkeys(operator.inputs, index))
            for tensor in operator.outputs:
                made.setdefault(tensor, index)
        read[self.output] = len(self.graph.operators)
        for index, step in self.steps.items():
            for changed in set(step.operator.outputs) & set(step.operator.inputs):
                block = self.graph.tensors[changed].storage
                for other in self.maps - {changed}:
                    if self.graph.tensors[other].storage == block and made[other] < index < read.get(other, BEFORE):
                        raise StriateError(
                            expected="maps that are not changed in place through one view and read through another",
                            received=f"{step.operator.kind} in {self.layer_of(index)}",
                            remedy="Change a copy of it.",
                        )


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]


def _only_output(graph: OperatorGraph) -> int:
    outputs = graph.calls[0].outputs
    if len(outputs) != 1:
        raise StriateError(
            expected="a network that gives one tensor, to run it part by part",
            received=f"{len(outputs)} tensors",
            remedy="Wrap it in a module that returns the one that is wanted.",
        )
    return outputs[0]


def _grows(operator: Operator, graph: OperatorGraph) -> bool:
    """Tell whether an operator makes a map of something small."""
    before, after = (graph.tensors[tensors[0]].shape for tensors in (operator.inputs, operator.outputs))
    return after[-2] * after[-1] > before[-2] * before[-1]


def _pooled_sizes(operator: Operator, graph: OperatorGraph) -> tuple[int, int] | None:
    """Return the height and width to which an operator pools a map by means; None for one that does not."""
    shape, out = (graph.tensors[tensors[0]].shape for tensors in (operator.inputs, operator.outputs))
    if operator.kind == "mean" and operator.arguments.get("dtype") is None:
        dims = cast(Sequence[int], operator.arguments.get("dim") or ())
        return (1, 1) if {dim % len(shape) - len(shape) for dim in dims} == LAST_TWO else None
    if operator.kind in ADAPTIVE and "avg" in operator.kind and operator.kind.endswith("2d"):
        return out[-2], out[-1]
    return None


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
        sizes = _pooled_sizes(operator, passes.graph)
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
