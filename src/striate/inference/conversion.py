"""A traced network whose end is turned into convolutions, step by step backwards from its logits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from striate.errors import StriateError

SAME = 1e-4  # Of the largest output: other kernels add in another order.
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one layer.

    Args:
        layer: its path in the network.
        before: what it was.
        after: what it is; empty where nothing has taken its place.
    """

    layer: str
    before: str
    after: str


class ClosedError(Exception):
    """The end of the network lies inside a module that was taken as one step."""

    def __init__(self, layer: str) -> None:
        super().__init__(layer)
        self.layer = layer


class Tracer(fx.Tracer):
    """Takes each module as one step, but for those that are opened."""

    def __init__(self, opened: set[str]) -> None:
        super().__init__()
        self._opened = opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell whether a module is taken as one step."""
        return module_qualified_name not in self._opened


def traced(network: nn.Module, opened: set[str]) -> fx.GraphModule:
    """Return a network as steps that follow each other, with the modules of these names opened.

    Raises:
        StriateError: for code that cannot be traced.
    """
    try:
        return fx.GraphModule(network, Tracer(opened).trace(network), "FullyConvolutional")
    except Exception as error:  # Code of the user's runs on stand-ins for tensors, and may do anything with them.
        where = ", ".join(sorted(opened)) or type(network).__name__
        raise refusal(
            f"its code, in {where}, asks for values: {' '.join(str(error).split())}",
            "Write its forward pass as layers that follow each other, or convert the part of it that does.",
        ) from error


class Ran(fx.Interpreter):
    """A traced network, and what each of its steps gave for two random images."""

    def __init__(self, traced: fx.GraphModule, image_shape: tuple[int, int, int]) -> None:
        super().__init__(traced, garbage_collect_values=True)
        self.traced = traced
        self.gave: dict[fx.Node, Any] = {}
        parameter = next(traced.parameters(), torch.zeros(()))
        noise = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
        self.image = noise.to(parameter.device, parameter.dtype)
        try:
            with torch.no_grad():
                self.run(self.image)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise refusal(
                f"one that fails on images of {'x'.join(map(str, image_shape))}: {reason}", "Give its image_shape."
            ) from error

    def run_node(self, n: fx.Node) -> Any:
        """Run a step, and keep what it gave: later ones may change that in place."""
        value = super().run_node(n)
        self.gave[n] = value.clone() if isinstance(value, Tensor) else value
        return value

    def source(self, node: fx.Node) -> fx.Node | None:
        """Return the only tensor that a step is given; None where there are several or none."""
        given = [each for each in node.all_input_nodes if isinstance(self.gave[each], Tensor)]
        return given[0] if len(given) == 1 else None

    def applied(self, node: fx.Node, value: Tensor) -> Any:
        """Return what a step makes of another tensor."""
        source = self.source(node)

        def given(each: fx.Node) -> Any:
            return value if each is source else self.gave[each]

        with torch.no_grad():
            run: Callable[..., Any] = getattr(super(), node.op)
            return run(node.target, fx.map_arg(node.args, given), fx.map_arg(node.kwargs, given))

    def treats_places_alike(self, node: fx.Node) -> bool:
        """Tell whether a step does at each place of a map what it does to a row of numbers."""
        source = self.source(node)
        if source is None:
            return False
        width = self.gave[source].shape[1]
        rows = torch.rand(6, width, generator=torch.Generator().manual_seed(1)).to(self.image) - 0.5
        given = rows if self.gave[source].ndim == 2 else rows[:, :, None, None]
        try:
            one = self.applied(node, given.clone()).view(6, -1)
            all_together = self.applied(node, _as_map(rows))
        except Exception:  # Whatever it is, it takes no map.
            return False
        expected = _as_map(one)
        return bool(all_together.shape == expected.shape and torch.allclose(all_together, expected, SAME, SAME))


def _as_map(rows: Float[Tensor, "6 K"]) -> Float[Tensor, "2 K 1 3"]:
    """Return six rows of numbers as two maps with three places."""
    return rows.view(2, 3, -1).permute(0, 2, 1).unsqueeze(2).contiguous()


class Conversion:
    """Goes back from a network's logits to its last map, and turns what is between into convolutions."""

    def __init__(self, ran: Ran, stride: int) -> None:
        self._ran, self._stride = ran, stride
        self._places = {node: place for place, node in enumerate(ran.traced.graph.nodes)}
        self._changed: dict[int, Change] = {}

    def changes(self) -> tuple[Change, ...]:
        """Change the network; return what was changed, in the order in which it runs."""
        ran = self._ran
        (node,) = next(node for node in ran.traced.graph.nodes if node.op == "output").args
        made = ran.gave[node] if isinstance(node, fx.Node) else node
        if not isinstance(node, fx.Node) or not isinstance(made, Tensor) or made.ndim != 2:
            what = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
            raise refusal(f"its output is {what}", "Logits, one row for each image, are what can become maps.")
        dense: list[fx.Node] = []
        while ran.gave[source := self._source(node)].ndim == 2:
            self._open(node)
            if isinstance(self._module(node), nn.Linear):
                dense.append(node)
            elif _alike(ran.gave[node], ran.gave[source]) and not ran.treats_places_alike(node):
                self._note(node, "")  # What flattens a row changes nothing.
                node.replace_all_uses_with(source)
            else:
                self._let_take_maps(node)
            node = source
        kernel = self._unflattened(node, source)
        for each in reversed(dense):
            self._to_convolution(each, kernel)
            kernel = (1, 1)
        return tuple(change for _, change in sorted(self._changed.items()))

    def _source(self, node: fx.Node) -> fx.Node:
        source = self._ran.source(node)
        if source is None:
            raise refusal(
                f"{_name(node)} is made of {len(node.all_input_nodes)} things",
                "Behind its last map, each layer has to follow the one before.",
            )
        return source

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self._ran.traced.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _open(self, node: fx.Node) -> None:
        module = self._module(node)
        if module is not None and next(module.children(), None) is not None:
            raise ClosedError(str(node.target))

    def _note(self, node: fx.Node, after: str) -> None:
        module = self._module(node)
        before = str(getattr(node.target, "__name__", node.target)) if module is None else str(module)
        self._changed[self._places[node]] = Change(_name(node), before, after)

    def _let_take_maps(self, node: fx.Node) -> None:
        """Have a step between dense layers do at each place what it did to a row."""
        module = self._module(node)
        if isinstance(module, nn.BatchNorm1d):
            norm = nn.BatchNorm2d(module.num_features, module.eps, module.momentum, module.affine)
            norm.track_running_stats = module.track_running_stats
            norm._parameters.update(module._parameters)
            norm._buffers.update(module._buffers)
            self._replace(node, norm)
        elif isinstance(module, nn.Softmax | nn.LogSoftmax) and module.dim in (None, 1, -1):
            self._replace(node, type(module)(dim=1))
        elif not self._ran.treats_places_alike(node):
            raise refusal(
                f"{_name(node)}, which does not do the same at each place of a map",
                "Between its last map and its logits only dense layers, batch norm, dropout and activations can be.",
            )

    def _unflattened(self, node: fx.Node, source: fx.Node) -> Size:
        """Take out the step that makes a row of a map; return the size of the map that the row is of."""
        row, last = self._ran.gave[node], self._ran.gave[source]
        if last.ndim == 4 and _alike(row, last.flatten(1)):
            self._note(node, "")
            node.replace_all_uses_with(source)
            height, width = last.shape[2:]
            self._let_pooling_slide(source)
            return height, width
        if last.ndim == 4 and _alike(row, last.mean((2, 3))):
            self._pool(node, source, nn.AvgPool2d)
            return 1, 1
        self._open(node)
        raise refusal(f"{_name(node)}, which makes a row of a tensor of shape {tuple(last.shape)}", MAPS)

    def _let_pooling_slide(self, node: fx.Node) -> None:
        """Have a pooling to a fixed number of places, ahead of where its map was flattened, slide over larger maps."""
        ran = self._ran
        while (source := ran.source(node)) is not None and isinstance(ran.gave[node], Tensor):
            if isinstance(self._module(node), nn.Sequential):
                raise ClosedError(str(node.target))
            made, given = ran.gave[node], ran.gave[source]
            if ran.treats_places_alike(node):
                if isinstance(self._module(node), nn.Conv2d):
                    return
            elif _alike(made, given):  # A pooling to as many places as there are.
                self._note(node, "")
                node.replace_all_uses_with(source)
            else:
                for kind in (nn.AvgPool2d, nn.MaxPool2d):
                    if self._pools(made, given, kind):
                        is_window = isinstance(self._module(node), kind) and _kernel(made, given) != given.shape[2:]
                        if not is_window:
                            self._pool(node, source, kind)
                        return
                return
            node = source

    def _pools(self, made: Tensor, given: Tensor, kind: type[nn.AvgPool2d] | type[nn.MaxPool2d]) -> bool:
        if made.ndim != 4 or given.ndim != 4 or min(made.shape[2:]) < 1:
            return False
        kernel = _kernel(made, given)
        return min(kernel) > 0 and _alike(made, kind(kernel)(given))

    def _pool(self, node: fx.Node, source: fx.Node, kind: type[nn.AvgPool2d] | type[nn.MaxPool2d]) -> None:
        """Put a pooling of windows as large in the place of a step that pools a whole map."""
        ran, kernel = self._ran, _kernel(self._ran.gave[node], self._ran.gave[source])
        sees_all = kernel == tuple(ran.gave[source].shape[2:])
        pool = kind(kernel, self._stride if sees_all else kernel)
        self._stride = 1 if sees_all else self._stride  # It is the first layer's that sees the whole map.
        name = f"pool_{node.name}"
        ran.traced.add_submodule(name, pool)
        with ran.traced.graph.inserting_after(node):
            added = ran.traced.graph.call_module(name, (source,))
        node.replace_all_uses_with(added)
        self._note(node, str(pool))

    def _to_convolution(self, node: fx.Node, kernel: Size) -> None:
        dense = self._module(node)
        assert isinstance(dense, nn.Linear)
        channels = dense.in_features // (kernel[0] * kernel[1])
        with torch.device("meta"):
            conv = nn.Conv2d(channels, dense.out_features, kernel, self._stride, bias=dense.bias is not None)
        weight = dense.weight.detach().view(dense.out_features, channels, *kernel)
        conv.weight = nn.Parameter(weight, dense.weight.requires_grad)
        if dense.bias is not None:
            conv.bias = dense.bias
        self._stride = 1
        self._replace(node, conv)

    def _replace(self, node: fx.Node, module: nn.Module) -> None:
        name, traced = str(node.target), self._ran.traced
        uses = sum(each.op == "call_module" and each.target == name for each in traced.graph.nodes)
        if uses > 1:
            raise refusal(f"{name} is used {uses} times", "Use a layer of its own for each.")
        self._note(node, str(module))
        traced.set_submodule(name, module.eval())


def _kernel(made: Tensor, given: Tensor) -> Size:
    """Return the window with which pooling makes one map of another, or a row of it."""
    sides = made.shape[2:] or (1, 1)
    return given.shape[2] // sides[0], given.shape[3] // sides[1]


MAPS = "What can become a convolution is a dense layer on a flattened map, or on the means of its channels."


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, SAME, SAME * float(b.abs().max()))


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else f"`{node.name}`"


def refusal(received: str, remedy: str) -> StriateError:
    """Return the error of a network that cannot be converted."""
    return StriateError(
        expected="a network that ends in dense layers, or in a pooling over the whole map",
        received=received,
        remedy=remedy,
    )
