"""What torch's dispatcher says of an operator: whether it is a view, and what it changes in place."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def is_bookkeeping(operator: Any) -> bool:
    """Tell whether an operator computes nothing: it asks on which device a tensor is, or marks a place in a profile."""
    return str(operator.namespace) in {"prim", "profiler"}


def is_view(operator: Any) -> bool:
    """Tell whether an operator looks at a tensor in another way, and changes no value."""
    if torch.Tag.inplace_view in operator.tags:
        return True
    kept = (made.alias_info for made in operator._schema.returns)
    return any(alias is not None and not alias.is_write for alias in kept)


def named_arguments(operator: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of one call by their names."""
    positional = zip((argument.name for argument in operator._schema.arguments), arguments, strict=False)
    return {**dict(positional), **keywords}


def changed(operator: Any, named: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that one call changes in place, by its `named_arguments`."""
    for argument in operator._schema.arguments:
        if argument.is_write:
            value = named.get(argument.name)
            parts = value if isinstance(value, list | tuple) else (value,)
            yield from (part for part in parts if isinstance(part, Tensor))
