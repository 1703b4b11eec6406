"""One table of every network: its name, who makes it, its task, image size, paper and parameter count."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any

from striate.errors import UsageError, nearest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the zoo, with the figures of its paper.

    Args:
        name: what users call it.
        module: the file below ``striate.models`` that has a function of that name; loaded when first built, so that
            the table itself needs no torch.
        task: what it was made for.
        in_chans: channels of its images.
        image_size: (height, width) of its images.
        num_classes: classes with which ``parameters`` were counted.
        parameters: trained numbers, as the network's file accounts for them.
        year: of the paper.
        paper: authors and title, shortened; the network's file says how far it follows them.
        smaller: the next smaller network of the family.
        backbone: whether it has feature maps.
    """

    name: str
    module: str
    task: str
    in_chans: int
    image_size: tuple[int, int]
    num_classes: int
    parameters: int
    year: int
    paper: str
    smaller: str | None = None
    backbone: bool = True

    @property
    def build(self) -> Callable[..., "nn.Module"]:
        """The function that makes the network."""
        builder: Callable[..., nn.Module] = getattr(import_module(f"striate.models.{self.module}"), self.name)
        return builder


_LECUN = "LeCun et al., Gradient-based learning applied to document recognition"

ZOO = {
    entry.name: entry
    for entry in (
        Entry("lenet5", "lenet", "classify", 1, (32, 32), 10, 61_706, 1998, _LECUN, smaller="lenet5_28"),
        Entry("lenet5_28", "lenet", "classify", 1, (28, 28), 10, 44_426, 1998, _LECUN),
        Entry("mlp", "mlp", "classify", 1, (28, 28), 10, 238_510, 1998, _LECUN, backbone=False),
        Entry(
            "mnist_cnn",
            "mnist_cnn",
            "classify",
            1,
            (28, 28),
            10,
            1_662_794,
            2015,
            "after Chollet et al., Keras: MNIST example",
        ),
    )
}


def find_model(name: str) -> Entry:
    """Return the zoo's entry of that name.

    Raises:
        UsageError: for an unknown name, with the nearest known ones.
    """
    if name not in ZOO:
        raise UsageError(expected="a network of the zoo", received=repr(name), remedy=nearest(name, ZOO))
    return ZOO[name]


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the zoo's networks that match a shell pattern, in order of name.

    >>> list_models("lenet*")
    ['lenet5', 'lenet5_28']
    """
    return sorted(name for name in ZOO if fnmatchcase(name, pattern))


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    **options: Any,
) -> "nn.Module":
    """Build a network of the zoo with fresh weights, on torch's default device and in its default dtype.

    Args:
        name: one of `list_models`.
        num_classes: logits per image; the paper's number by default.
        in_chans: channels of the images; the paper's by default.
        image_size: (height, width) of the images, or one number for both; the paper's by default.
        options: the network's own, such as ``hidden_sizes`` of ``mlp`` or ``drop_rate``.

    Raises:
        UsageError: for an unknown name or option, or a size that the network cannot take.
    """
    entry = find_model(name)
    known = inspect.signature(entry.build).parameters
    for option in options:
        if option not in known:
            raise UsageError(expected=f"an option of {name}", received=repr(option), remedy=nearest(option, known))
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    chosen = {
        "num_classes": entry.num_classes if num_classes is None else num_classes,
        "in_chans": entry.in_chans if in_chans is None else in_chans,
        "image_size": entry.image_size if image_size is None else image_size,
    }
    for key, value in chosen.items():
        if min(value if isinstance(value, tuple) else (value,)) < 1:
            raise UsageError(expected=f"{key} of 1 or more", received=str(value), remedy="Give a positive number.")
    try:
        return entry.build(**chosen, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(
            expected=f"values that {name} takes",
            received=f"{options}: {error}",
            remedy=f"See help({entry.build.__module__}).",
        ) from error
