"""Where a network can be looked into: the modules that return maps, and what of the image each of their units sees."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.costing.fields import Fields
from striate.graph.operators import OperatorGraph, Phase
from striate.graph.programs import Inference
from striate.graph.trace import trace
from striate.shapes import Field, Span

Images = Float[Tensor, "N C H W"]


@dataclass(frozen=True, slots=True)
class Point:
    """A module's maps.

    Args:
        name: path of the module; empty for the network itself.
        kind: its class.
        turn: which of its calls it is, from 0.
        shape: channels x height x width.
        fields: what a unit sees, down and across.
        convolves: whether a convolution made them, in the module or in one before it at this size.
    """

    name: str
    kind: str
    turn: int
    shape: tuple[int, int, int]
    fields: tuple[Field, Field]
    convolves: bool

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width)."""
        return self.shape[1:]

    def seen(self, row: int, column: int) -> tuple[Span, Span]:
        """Return the pixels that one unit sees, down and across; some may lie beyond the image."""
        down, across = self.fields
        return down.seen(Span(row, row + 1)), across.seen(Span(column, column + 1))


def layer_title(name: str) -> str:
    """Return a layer's name for people; the network as a whole has none."""
    return name or "the network"


def find_points(network: nn.Module, image: Tensor) -> list[Point]:
    """Return the modules that return maps of several places, as one tensor, in the order in which they are done.

    Of modules that return the same tensor, such as a block and the last layer in it, or a convolution and what is done
    to its result in place, there is one: the last to be done, the outermost of those.

    Args:
        network: any module of images.
        image: 1 x C x H x W, whose values do not matter.
    """
    graph = trace(Inference(network, [image]))
    given = set(graph.inputs)  # Layers of none, and those that do nothing in evaluation mode, return the image.
    fields, ends = Fields(graph), _ends(graph)
    turns: dict[str, int] = {}
    found: dict[int, Point] = {}
    last: dict[int, tuple[int, int]] = {}
    convolved = _convolved(graph)
    for index, call in enumerate(graph.calls):
        if call.phase is not Phase.FORWARD:
            continue
        turn = turns[call.layer] = turns.get(call.layer, -1) + 1
        for tensor in call.outputs if call.returns_tensor else ():
            shape, seen = graph.tensors[tensor].shape, fields.of(tensor, ends[index])
            if (
                tensor in given
                or len(shape) != 4
                or seen is None
                or None in seen.dims
                or len(seen.fields) != 2
                or shape[2] * shape[3] < 2
            ):
                continue
            # Those that begin later and end at the same operator lie inside.
            if tensor not in last or ends[index] > last[tensor][0] or not found[tensor].name:
                last[tensor] = ends[index], index
                sides = (shape[2], shape[3])
                down, across = seen.fields
                is_made = convolved.get(sides, len(graph.operators)) <= ends[index]
                found[tensor] = Point(call.layer, call.kind, turn, (shape[1], *sides), (down, across), is_made)
    return [found[tensor] for tensor in sorted(found, key=last.__getitem__)]


def _ends(graph: OperatorGraph) -> list[int]:
    """Return the last operator of each call, those of the calls in it included."""
    ends = [call.first - 1 for call in graph.calls]
    for index, operator in enumerate(graph.operators):
        call = operator.call
        while call is not None:
            ends[call] = index
            call = graph.calls[call].parent
    return ends


def _convolved(graph: OperatorGraph) -> dict[tuple[int, int], int]:
    """Return the first operator that convolves to maps of each size."""
    found: dict[tuple[int, int], int] = {}
    for index, operator in enumerate(graph.operators):
        shape = graph.tensors[operator.outputs[0]].shape if operator.outputs else ()
        if operator.kind == "convolution" and len(shape) == 4:
            found.setdefault((shape[2], shape[3]), index)
    return found


def one_of_each_size(points: Sequence[Point]) -> list[Point]:
    """Return a point at each size of maps, in the order of the points: the last of the outermost modules there."""
    found: dict[tuple[int, int], Point] = {}
    for point in points:
        if point.sides not in found or point.name.count(".") <= found[point.sides].name.count("."):
            found.pop(point.sides, None)
            found[point.sides] = point
    return list(found.values())


def last_convolved(points: Sequence[Point]) -> Point | None:
    """Return the last maps that a convolution made; None where there are none of several places."""
    return next((point for point in reversed(points) if point.convolves), None)


@contextmanager
def watching(
    network: nn.Module, points: Sequence[Point], see: Callable[[Point, Tensor], Tensor | None]
) -> Iterator[None]:
    """Show ``see`` the maps of some points as they are made; what it returns, the network goes on with.

    Args:
        network: whose points they are; it may run several times.
        points: to be shown.
        see: of a point and its maps.
    """
    counts: dict[str, int] = {}

    def begin(_module: nn.Module, _inputs: object) -> None:
        counts.clear()

    def hooked(name: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        own = {point.turn: point for point in points if point.name == name}

        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
            turn = counts[name] = counts.get(name, -1) + 1
            return see(own[turn], output) if turn in own else None

        return hook

    names = {point.name for point in points}
    handles = [
        network.register_forward_pre_hook(begin),
        *(network.get_submodule(name).register_forward_hook(hooked(name)) for name in names),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def maps_at(network: nn.Module, images: Images, points: Sequence[Point]) -> dict[Point, Tensor]:
    """Return the maps of some points, N x C x h x w each, without gradients."""
    found: dict[Point, Tensor] = {}

    def see(point: Point, output: Tensor) -> None:
        found[point] = output.detach().clone()  # Others may go on to change it in place.

    with torch.no_grad(), watching(network, points, see):
        network(images)
    return found


class _ReachedError(Exception):
    pass


def run_to(network: nn.Module, images: Images, point: Point) -> Tensor:
    """Return the maps of one point, N x C x h x w, with whatever gradients are wanted; what follows does not run."""
    found: list[Tensor] = []

    def see(_point: Point, output: Tensor) -> None:
        found.append(output)
        raise _ReachedError

    with watching(network, [point], see):
        try:
            network(images)
        except _ReachedError:
            return found[0]
    raise AssertionError("a point of this network is reached")


def first_filters(network: nn.Module, images: Images) -> Float[Tensor, "O D kh kw"] | None:
    """Return the weights of the first convolution that runs; None where none does."""
    found: list[Tensor] = []

    def see(module: nn.Module, _inputs: object) -> None:
        assert isinstance(module, nn.Conv2d)
        found.append(module.weight.detach())
        raise _ReachedError

    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    handles = [module.register_forward_pre_hook(see) for module in convolutions]
    try:
        with torch.no_grad():
            network(images)
    except _ReachedError:
        return found[0]
    finally:
        for handle in handles:
            handle.remove()
    return None
