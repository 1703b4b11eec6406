"""What is known of the things in an image: box, class, perhaps an outline of each; and what is wrong with that."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float32
from torch import Tensor

from striate.data.frames import Size
from striate.data.outlines import Outline, fault_of_outline
from striate.units import format_size

# Left, top, right and bottom edge, in pixels of the upright image and parts of them: the pixel in the corner is
# (0, 0, 1, 1).
Box = tuple[float, float, float, float]

SMALLEST = 1.0  # Pixels: a box with a side of so many or fewer holds nothing that could be found.
EDGE = 1.0  # Pixels that a box may go beyond its image without a word: writers round, and count from 0 or from 1.
FaultKind = Literal[
    "annotation", "unknown class", "swapped corners", "box outside", "empty box", "clipped box", "duplicate box"
]
# With these the boxes of an image cannot be meant; the others are left out or cut, and it is said.
GRAVE: tuple[FaultKind, ...] = ("annotation", "unknown class", "swapped corners", "box outside")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with what is known of an image.

    Args:
        kind: of it.
        text: what it is, and what is made of it.
    """

    kind: FaultKind
    text: str

    @property
    def is_grave(self) -> bool:
        """Whether nothing of the image can be learned."""
        return self.kind in GRAVE


@dataclass(frozen=True, slots=True)
class Instance:
    """One thing in an image.

    Args:
        xyxy: its box.
        label: the name of its class.
        crowd: whether it is many things of that class that nobody told apart.
        difficult: whether nobody is to be blamed for not finding it.
        outline: which pixels are its; None where nobody says.
    """

    xyxy: Box
    label: str
    crowd: bool = False
    difficult: bool = False
    outline: Outline | None = None

    @property
    def ignored(self) -> bool:
        """Whether it is neither to be found nor wrong to find."""
        return self.crowd or self.difficult


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is known of one image.

    Args:
        instances: the things in it.
        faults: what is wrong with them, or was.
        digest: of where this was read from.
        proposals: boxes in which something may be, xyxy in pixels, as many for each image of a set, those of no extent
            none; None where nobody has searched.
    """

    instances: tuple[Instance, ...] = ()
    faults: tuple[Fault, ...] = ()
    digest: str = ""
    proposals: Float32[Tensor, "P 4"] | None = field(default=None, compare=False)

    @property
    def problem(self) -> str:
        """Why nothing can be learned of the image; empty where something can."""
        return "; ".join(fault.text for fault in self.faults if fault.is_grave)


@runtime_checkable
class Annotated(Protocol):
    """Where what is known of an image is, in one of several formats."""

    def read(self, size: Size) -> Annotation:
        """Return what is known of an image of (height, width)."""
        ...


def unreadable(reason: str) -> Annotation:
    """Return what is known where nothing can be read."""
    return Annotation(faults=(Fault("annotation", reason),))


def tidied(
    instances: Iterable[Instance], size: Size, *, said: Size | None, digest: str, faults: Iterable[Fault] = ()
) -> Annotation:
    """Look at the boxes of an image, as they were read: what can be learned, and what is wrong.

    Boxes are cut at the image's edges; those with a side of a pixel or less, and those that are there twice, are left
    out.

    Args:
        instances: with boxes in pixels.
        size: (height, width) of the image, upright.
        said: what the annotation says of it; None where it says nothing.
        digest: of where this was read from.
        faults: that were found already.
    """
    found, kept, seen = list(faults), list[Instance](), set[tuple[Box, str]]()
    if said is not None and said != size:
        turned = ": it was made before the image was turned, as its EXIF orientation says" if said == size[::-1] else ""
        text = f"an annotation of {format_size(said)} for an image of {format_size(size)} pixels{turned}"
        found.append(Fault("annotation", text))
    for instance in instances:
        fault, box = _judge(instance, size)
        if fault is None and instance.outline is not None:
            wrong = fault_of_outline(instance.outline, size)
            fault = Fault("annotation", f"{_name(instance)}: {wrong}") if wrong else None
        if fault is None and not instance.crowd and (box, instance.label) in seen:
            fault = Fault("duplicate box", f"{_name(instance)}: there twice, once left out")
        seen.add((box, instance.label))
        if fault is not None:
            found.append(fault)
        if fault is None or fault.kind == "clipped box":
            kept.append(Instance(box, instance.label, instance.crowd, instance.difficult, instance.outline))
    return Annotation(tuple(kept), tuple(found), digest)


def _judge(instance: Instance, size: Size) -> tuple[Fault | None, Box]:
    """Return what is wrong with a box, and the part of it that lies in the image."""
    left, top, right, bottom = instance.xyxy
    height, width = size
    if not all(map(isfinite, instance.xyxy)):
        return Fault("annotation", f"{_name(instance)}: no numbers"), instance.xyxy
    if right < left or bottom < top:
        return Fault("swapped corners", f"{_name(instance)}: it ends before it begins"), instance.xyxy
    if min(right - left, bottom - top) <= SMALLEST:
        return Fault("empty box", f"{_name(instance)}: a side of a pixel or less, left out"), instance.xyxy
    inside = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return Fault("box outside", f"{_name(instance)}: outside of {format_size(size)} pixels"), inside
    if min(inside[2] - inside[0], inside[3] - inside[1]) <= SMALLEST:
        return Fault("empty box", f"{_name(instance)}: a pixel or less of it in the image, left out"), inside
    beyond = max(abs(edge - cut) for edge, cut in zip(instance.xyxy, inside, strict=True))
    if beyond > EDGE:
        return Fault("clipped box", f"{_name(instance)}: cut at the edges of {format_size(size)} pixels"), inside
    return None, inside


def _name(instance: Instance) -> str:
    return f"{instance.label} at {', '.join(f'{edge:g}' for edge in instance.xyxy)}"
