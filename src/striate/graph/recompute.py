"""Recomputation: values that a forward pass does not keep, made again when the backward pass asks for them.

Autograd keeps what the gradients need: for a chain of convolution, batch norm and ReLU what the convolution makes and
what the ReLU makes. The second can be made again from the first by the norm and the ReLU, which cost little. So for
each operator that a plan names, the values that it makes are not kept; a recipe is, which holds the operator and its
arguments: those that other recipes make by their recipes, all others as they are. When the backward pass asks, the
recipe is followed, and the value is held until nothing else waits for it.

The same operators on the same numbers give the same bits, so gradients are equal, bit for bit. What must not happen
twice does not: batch norm moves its running statistics in the forward pass alone, and operators that draw random
numbers are never made again.

It works below autograd, operator by operator, so it asks nothing of the network: its modules may be nested in any way.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import StriateError

LARGE = 16
STATISTICS = ("running_mean", "running_var")

_again = 0


def is_made_again() -> bool:
    """Tell whether a recipe is being followed right now."""
    return _again > 0


def is_view(operator: Any) -> bool:
    """Tell whether an operator of torch's dispatcher looks at a tensor in another way, and changes no value."""
    if torch.Tag.inplace_view in operator.tags:
        return True
    kept = (made.alias_info for made in operator._schema.returns)
    return any(alias is not None and not alias.is_write for alias in kept)


def is_large(size: int, sizes: Sequence[int]) -> bool:
    """Tell whether one of the things that an operator makes is worth making again: what a norm counts is not."""
    return size * LARGE >= max(sizes)


@contextmanager
def recomputing(chosen: Mapping[int, str]) -> Iterator[None]:
    """Do not keep, during a forward pass, what some of its operators make.

    Args:
        chosen: their names by their place among the operators that run in this context and do more than look at a
            tensor in another way; the first is 0.

    Raises:
        StriateError: where another operator runs in such a place than was said.
    """
    with ExitStack() as stack:
        if chosen and torch.is_grad_enabled():
            recipes = _Recipes(chosen)
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(recipes.pack, _unpack))
            stack.callback(recipes.forget)
            stack.enter_context(recipes)
            yield
            recipes.expect_all()
        else:
            yield


@dataclass(frozen=True, slots=True)
class _Geometry:
    """A view of a storage."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @staticmethod
    def of(tensor: Tensor) -> "_Geometry":
        return _Geometry(tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset()))

    def on(self, tensor: Tensor) -> Tensor:
        """Return this view of the storage of another tensor."""
        return tensor if _Geometry.of(tensor) == self else tensor.as_strided(self.shape, self.strides, self.offset)


@dataclass(frozen=True, slots=True)
class _Made:
    """An argument, or a value that autograd wanted to keep, that a recipe makes."""

    recipe: "_Recipe"
    which: int
    geometry: _Geometry


class _Recipe:
    """How to make a value again, and the value while somebody waits for it.

    Args:
        operator: of torch's dispatcher.
        arguments: its own, with those that are made again as `_Made`.
        in_place: whether it changes its first argument, rather than making something new.
    """

    def __init__(self, operator: Any, arguments: Sequence[Any], keywords: Mapping[str, Any], in_place: bool) -> None:
        self.operator, self.arguments, self.keywords, self.in_place = operator, arguments, keywords, in_place
        self.waiting = 0  # Values that autograd wanted to keep.
        self.users: weakref.WeakSet[_Recipe] = weakref.WeakSet()  # Recipes that were not followed yet.
        self.values: Sequence[Tensor] = ()
        self.device = "cpu"

    def make(self) -> Sequence[Tensor]:
        """Return the values."""
        if self.values:
            return self.values
        used: list[_Recipe] = []
        arguments = [self._filled(argument, used) for argument in self.arguments]
        keywords = {name: self._filled(argument, used) for name, argument in self.keywords.items()}
        for recipe in used:
            recipe.users.discard(self)
        if self.in_place and used and used[0].is_wanted:
            arguments[0] = arguments[0].clone()
        for recipe in used:
            recipe.release()
        values = _outputs(self.operator(*arguments, **keywords))
        if self.is_wanted:
            self.values = values
        return values

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for the value."""
        return self.waiting > 0 or len(self.users) > 0

    def release(self) -> None:
        """Hold the value no longer, if nobody waits for it."""
        if not self.is_wanted:
            self.values = ()

    def _filled(self, argument: Any, used: "list[_Recipe]") -> Any:
        match argument:
            case _Made(recipe, which, geometry):
                used.append(recipe)
                return geometry.on(recipe.make()[which])
            case list() | tuple():
                return type(argument)(self._filled(part, used) for part in argument)
        return argument


def _unpack(kept: Any) -> Tensor:
    """Return what autograd wanted to keep."""
    global _again
    if not isinstance(kept, _Made):
        tensor: Tensor = kept
        return tensor
    recipe = kept.recipe
    recipe.waiting -= 1
    _again += 1
    try:
        with torch.no_grad(), torch.autocast(recipe.device, enabled=False):
            return kept.geometry.on(recipe.make()[kept.which])
    finally:
        _again -= 1
        recipe.release()


class _Recipes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes recipes while a forward pass runs."""

    def __init__(self, chosen: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._chosen = chosen
        self._place = 0
        self._of_storage: dict[int, tuple[weakref.ref[Any], _Recipe, int]] = {}
        self._read: dict[int, weakref.ref[Any]] = {}  # Storages that recipes hold.

    def forget(self) -> None:
        """Hold no recipe that nobody else holds."""
        self._of_storage.clear()

    def expect_all(self) -> None:
        """Refuse a forward pass that ended before all of the chosen operators had run."""
        if self._place <= max(self._chosen):
            raise StriateError(
                expected=f"{max(self._chosen) + 1} operators or more, as when the plan was made",
                received=f"{self._place}",
                remedy="Make a new plan: the network, its mode or its input has changed. Autocast belongs around each "
                "micro-batch by itself, since it converts weights once.",
            )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator, and write its recipe if it is one of the chosen."""
        kwargs = kwargs or {}
        if func.namespace == "prim":  # Questions about a tensor, such as on which device it is.
            return func(*args, **kwargs)
        if is_view(func):  # Of those, torch makes more at one time than at another.
            return func(*args, **kwargs)
        expected = self._chosen.get(self._place)
        self._place += 1
        self._expect_unread(func, args, expected is not None)
        if expected is None:
            out = func(*args, **kwargs)
            for changed in _changed(func, args):
                self._of_storage.pop(changed._cdata, None)  # No longer what the recipe makes.
            return out
        if expected != str(func):
            raise StriateError(
                expected=f"{expected} as operator {self._place - 1} of the network, as when the plan was made",
                received=str(func),
                remedy="Make a new plan: the network, its mode or its input has changed.",
            )
        in_place = bool(_changed(func, args))
        named = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
        # What it counts of its batch goes into its running statistics once.
        left_out = STATISTICS if named.get("training") else ()
        written = {name: None if name in left_out else self._written(value) for name, value in named.items()}
        positional = [written.pop(name) for name, _ in zip(tuple(written), args, strict=False)]
        recipe = _Recipe(func, positional, written, in_place)
        for argument in (*recipe.arguments, *recipe.keywords.values()):
            for part in argument if isinstance(argument, list | tuple) else (argument,):
                if isinstance(part, _Made):
                    part.recipe.users.add(recipe)
        out = func(*args, **kwargs)
        outputs = _outputs(out)
        recipe.device = outputs[0].device.type
        for which, made in enumerate(outputs):
            if not made.is_complex() and is_large(made.nbytes, [other.nbytes for other in outputs]):
                block = made.untyped_storage()
                self._of_storage[block._cdata] = (weakref.ref(block), recipe, which)
        return out

    def _expect_unread(self, func: Any, args: Any, is_chosen: bool) -> None:
        for block in _changed(func, args):
            read, recipe = self._read.get(block._cdata), self._of_storage.get(block._cdata)
            is_made = is_chosen and recipe is not None and recipe[0]() is block
            if (read is not None and read() is block) or (is_chosen and not is_made):
                raise StriateError(
                    expected="maps that are not changed in place once an operator that is to run again has read them",
                    received=str(func),
                    remedy="Make a new plan; if the network has changed, the old one no longer fits it.",
                )

    def pack(self, tensor: Tensor) -> Any:
        """Return what autograd is to keep in place of a tensor."""
        made = self._made(tensor)
        if made is None:
            return tensor
        made.recipe.waiting += 1
        return made

    def _written(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            made = self._made(value)
            if made is not None:
                return made
            block = value.untyped_storage()
            self._read[block._cdata] = weakref.ref(block)
            return value.detach()
        if isinstance(value, list | tuple):
            return type(value)(self._written(part) for part in value)
        return value

    def _made(self, tensor: Tensor) -> _Made | None:
        if tensor.is_complex() or tensor.is_conj() or tensor.is_neg():  # More than a geometry would be needed.
            return None
        block = tensor.untyped_storage()
        known = self._of_storage.get(block._cdata)
        return None if known is None or known[0]() is not block else _Made(known[1], known[2], _Geometry.of(tensor))


def _changed(func: Any, args: Any) -> list[Any]:
    """Return the storages that an operator changes in place."""
    named = zip(func._schema.arguments, args, strict=False)
    return [value.untyped_storage() for argument, value in named if argument.is_write and isinstance(value, Tensor)]


def _outputs(made: Any) -> Sequence[Tensor]:
    return (made,) if isinstance(made, Tensor) else tuple(made)
