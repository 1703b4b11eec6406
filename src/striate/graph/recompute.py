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

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import StriateError
from striate.graph.dispatch import changed, is_bookkeeping, is_view, named_arguments

LARGE = 16
STATISTICS = ("running_mean", "running_var")

_running = threading.local()


def is_made_again() -> bool:
    """Tell whether this thread is following a recipe right now."""
    return getattr(_running, "depth", 0) > 0


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


@dataclass(frozen=True, slots=True)
class _Held:
    """An argument, or a value that autograd wanted to keep, as it was at that time.

    Hooks take autograd's own check of versions away, so it is made here.
    """

    tensor: Tensor
    version: int

    def get(self) -> Tensor:
        if self.tensor._version != self.version:
            raise StriateError(
                expected=f"a tensor of shape {tuple(self.tensor.shape)} as the forward pass read it",
                received="one that was changed in place before its gradient was taken",
                remedy="Change a copy of it instead; if the network has changed, make a new plan.",
            )
        return self.tensor


class _Recipe:
    """How to make a value again, and the value while somebody waits for it.

    Args:
        operator: of torch's dispatcher.
        arguments: its own, with tensors as `_Made` or `_Held`.
        keywords: its own, too.
        in_place: whether it changes its first argument, rather than making something new.
    """

    def __init__(self, operator: Any, arguments: Sequence[Any], keywords: Mapping[str, Any], in_place: bool) -> None:
        self.operator, self.arguments, self.keywords, self.in_place = operator, arguments, keywords, in_place
        self.waiting = 0  # Values that autograd wanted to keep.
        self.users: weakref.WeakSet[_Recipe] = weakref.WeakSet()  # Recipes that were not followed yet.
        self.values: Sequence[Tensor] = ()
        self.device = "cpu"
        self.needs = [part.recipe for part in _parts((arguments, keywords)) if isinstance(part, _Made)]
        for recipe in self.needs:
            recipe.users.add(self)

    def make(self) -> Sequence[Tensor]:
        """Return the values, to be released when they were used."""
        path = [self]  # Of recipes that wait for the last one; deep networks would exhaust Python's stack.
        while path and not self.values:
            recipe = path[-1]
            missing = next((need for need in recipe.needs if not need.values), None)
            if missing is None:
                recipe._follow()
                path.pop()
            else:
                path.append(missing)
        return self.values

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for the value."""
        return self.waiting > 0 or len(self.users) > 0

    def release(self) -> None:
        """Hold the value no longer, if nobody waits for it."""
        if not self.is_wanted:
            self.values = ()

    def _follow(self) -> None:
        arguments, keywords = list(_filled(self.arguments)), _filled(self.keywords)
        for recipe in self.needs:
            recipe.users.discard(self)
        if self.in_place:
            first: _Made = self.arguments[0]
            if first.recipe.is_wanted:
                arguments[0] = first.geometry.on(_whole(arguments[0]).clone())
        for recipe in self.needs:
            recipe.release()
        self.values = _outputs(self.operator(*arguments, **keywords))


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)
    else:
        yield value


def _filled(value: Any) -> Any:
    match value:
        case _Made(recipe, which, geometry):
            return geometry.on(recipe.values[which])
        case _Held():
            return value.get()
        case dict():
            return {name: _filled(part) for name, part in value.items()}
        case list() | tuple():
            return type(value)(_filled(part) for part in value)
    return value


def _whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor's storage."""
    return tensor.as_strided((tensor.untyped_storage().nbytes() // tensor.itemsize,), (1,), 0)


def _unpack(kept: _Held | _Made) -> Tensor:
    """Return what autograd wanted to keep."""
    if isinstance(kept, _Held):
        return kept.get()
    recipe = kept.recipe
    recipe.waiting -= 1
    _running.depth = getattr(_running, "depth", 0) + 1
    try:
        with torch.no_grad(), torch.autocast(recipe.device, enabled=False):
            return kept.geometry.on(recipe.make()[kept.which])
    finally:
        _running.depth -= 1
        recipe.release()


class _Recipes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes recipes while a forward pass runs."""

    def __init__(self, chosen: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._chosen = chosen
        self._place = 0
        self._of_storage: dict[int, tuple[weakref.ref[Any], _Recipe, int, torch.dtype]] = {}

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
        # Of views, torch makes more at one time than at another.
        if is_bookkeeping(func) or is_view(func):
            return func(*args, **kwargs)
        expected = self._chosen.get(self._place)
        self._place += 1
        named = named_arguments(func, args, kwargs)
        blocks = [tensor.untyped_storage() for tensor in changed(func, named)]
        if expected is None:
            out = func(*args, **kwargs)
            for block in blocks:
                self._of_storage.pop(block._cdata, None)  # No longer what the recipe makes.
            return out
        if expected != str(func):
            raise StriateError(
                expected=f"{expected} as operator {self._place - 1} of the network, as when the plan was made",
                received=str(func),
                remedy="Make a new plan: the network, its mode or its input has changed.",
            )
        if any(self._recipe_of(block) is None for block in blocks):
            raise StriateError(
                expected="operators that run again to change nothing in place but what runs again itself",
                received=str(func),
                remedy="Make a new plan; if the network has changed, the old one no longer fits it.",
            )
        # What a norm counts of its batch goes into its running statistics once.
        left_out = STATISTICS if named.get("training") else ()
        written = {name: None if name in left_out else self._written(value) for name, value in named.items()}
        positional = [written.pop(name) for name, _ in zip(tuple(written), args, strict=False)]
        recipe = _Recipe(func, positional, written, bool(blocks))
        out = func(*args, **kwargs)
        outputs = _outputs(out)
        recipe.device = outputs[0].device.type
        for which, made in enumerate(outputs):
            if not made.is_complex() and is_large(made.nbytes, [other.nbytes for other in outputs]):
                block = made.untyped_storage()
                self._of_storage[block._cdata] = (weakref.ref(block), recipe, which, made.dtype)
        return out

    def pack(self, tensor: Tensor) -> _Made | _Held:
        """Return what autograd is to keep in place of a tensor."""
        made = self._made(tensor)
        if made is None:
            # With its history it could hold the very node that holds this, and outlive a pass that was cut short.
            return _Held(_detached(tensor), tensor._version)
        made.recipe.waiting += 1
        return made

    def _written(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._made(value) or _Held(_detached(value), value._version)
        if isinstance(value, list | tuple):
            return type(value)(self._written(part) for part in value)
        return value

    def _made(self, tensor: Tensor) -> _Made | None:
        if tensor.is_complex() or tensor.is_conj() or tensor.is_neg():  # More than a geometry would be needed.
            return None
        recipe, which, dtype = self._recipe_of(tensor.untyped_storage()) or (None, 0, None)
        return None if recipe is None or tensor.dtype != dtype else _Made(recipe, which, _Geometry.of(tensor))

    def _recipe_of(self, block: Any) -> tuple[_Recipe, int, torch.dtype] | None:
        known = self._of_storage.get(block._cdata)
        return None if known is None or known[0]() is not block else known[1:]


def _detached(tensor: Tensor) -> Tensor:
    """Return a tensor without its history, which counts changes in place together with it."""
    # Below autograd, where a mode runs, `detach` alone would begin to count anew.
    with torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.ADInplaceOrView, False):
        return tensor.detach()


def _outputs(made: Any) -> Sequence[Tensor]:
    return (made,) if isinstance(made, Tensor) else tuple(made)
