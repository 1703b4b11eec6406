"""How a network's operators are run on parts of an image: which as often as there are parts, which once and between.

Most operators make of a part of a map what they make there of the whole. Those that look at all of it, such as the mean
over the map in squeeze-and-excitation, end a sweep: in it the operators ahead of them run part by part, and what they
need of each part is added up or put together. What they make is then there whole in all sweeps after it. So a network
with n such operators in a row takes n + 1 sweeps, each of which runs all that is ahead once more; nothing else would
keep to memory that does not grow with the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from striate.errors import StriateError
from striate.graph.operators import BEFORE, Operator, OperatorGraph, Role
from striate.graph.programs import Inference
from striate.graph.trace import trace
from striate.graph.windows import ADAPTIVE
from striate.inference.tiles.kinds import find_step
from striate.inference.tiles.steps import Region, Step, whole

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
        self.maps, self._ever_maps = {self.image}, {self.image}
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

    def estimate(self, sweep: Sweep, region: Region) -> int:
        """Return about how many bytes making a part of a sweep's map takes: of its largest operator, in and out."""
        sizes = [0]
        for index, out in self.parts_of(sweep, region)[1:]:
            step = self.steps[index]
            made = self.bytes_of(step.operator.outputs[0], out)
            needed = step.needs(out)
            given = sum(self.bytes_of(tensor, needed.clipped(self.shape(tensor))) for tensor in step.maps)
            sizes.append(made + given + (given if step.copies(out) else 0))
        return max(sizes)

    def bytes_of(self, tensor: int, region: Region) -> int:
        """Return the bytes of a part of a map."""
        spec = self.graph.tensors[tensor]
        height, width = region.size
        return spec.size // (spec.shape[-2] * spec.shape[-1]) * height * width

    def _held(self) -> dict[int, str]:
        """Return the names of the network's own tensors, by their index."""
        made = {tensor for operator in self.graph.operators for tensor in operator.outputs}
        sizes = {name: (tensor.nbytes, tensor.untyped_storage().nbytes()) for name, tensor in _tensors(self.network)}
        names: dict[int, str] = {}
        for index, spec in enumerate(self.graph.tensors):
            storage = self.graph.storages[spec.storage]
            if index in made:
                continue
            if storage.role in (Role.PARAMETER, Role.BUFFER):
                own, whole_storage = sizes[storage.name]
                if own != whole_storage:
                    raise StriateError(
                        expected="parameters and buffers with memory of their own, to run a network part by part",
                        received=f"{storage.name}, which is a part of something larger",
                        remedy="Give it a copy: tensor.clone().",
                    )
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
        changed = set(operator.outputs) & set(operator.inputs)
        if step is not None and changed <= set(maps) and (maps or _grows(operator, self.graph)):
            self.steps[index] = step
            self.maps.update(operator.outputs)
            self._ever_maps.update(operator.outputs)
            return
        self.once.append(index)
        pools = bool(maps) and pooled_sizes(operator, self.graph) is not None
        self.sweeps += [Sweep(tensor, index, pools, self.layer_of(index)) for tensor in maps]
        self.maps.difference_update(operator.outputs)

    def _expect_one_view(self) -> None:
        """Refuse maps that are changed in place through one view, and read through another.

        Of tensors that are there whole, views are views here too.
        """
        made = {self.image: BEFORE}
        read: dict[int, int] = {}
        by_storage: dict[int, set[int]] = {}
        for index, operator in enumerate(self.graph.operators):
            read.update(dict.fromkeys(operator.inputs, index))
            for tensor in operator.outputs:
                made.setdefault(tensor, index)
        read[self.output] = len(self.graph.operators)
        for tensor, spec in enumerate(self.graph.tensors):
            by_storage.setdefault(spec.storage, set()).add(tensor)
        for index, operator in enumerate(self.graph.operators):
            for changed in set(operator.outputs) & set(operator.inputs):
                for other in by_storage[self.graph.tensors[changed].storage] - {changed}:
                    is_alias = made.get(other, BEFORE) < index < read.get(other, BEFORE)
                    if is_alias and self._ever_maps & {changed, other}:
                        raise StriateError(
                            expected="maps that are not changed in place through one view and read through another",
                            received=f"{operator.kind} in {self.layer_of(index)}",
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


def pooled_sizes(operator: Operator, graph: OperatorGraph) -> tuple[int, int] | None:
    """Return the height and width to which an operator pools a map by means; None for one that does not."""
    shape, out = (graph.tensors[tensors[0]].shape for tensors in (operator.inputs, operator.outputs))
    if operator.kind == "mean" and operator.arguments.get("dtype") is None:
        dims = cast(Sequence[int], operator.arguments.get("dim") or ())
        return (1, 1) if {dim % len(shape) - len(shape) for dim in dims} == LAST_TWO else None
    if operator.kind in ADAPTIVE and "avg" in operator.kind and operator.kind.endswith("2d"):
        return out[-2], out[-1]
    return None
