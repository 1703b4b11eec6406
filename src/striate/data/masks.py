"""Masks: pictures whose pixels are classes, by number or by colour."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from striate.data.classes import NamedClass, find_classes_file, read_classes
from striate.data.images import ImageFileError
from striate.data.levels import COLOUR, read_held
from striate.data.names import CLASSES_FILE, MAX_PIXELS, USUALLY_IGNORED, MaskOptions
from striate.errors import UsageError, nearest
from striate.files import spell
from striate.results import UNKNOWN, Colour

NONE = "none"


@dataclass(frozen=True, slots=True)
class MaskClasses:
    """How what the pixels of masks hold becomes classes.

    Args:
        names: of the classes, in the network's order.
        colours: of each; none where nobody says.
        numbers: the class of each number, and of each colour as `read_held` gives it; ``UNKNOWN`` for what nobody
            knows.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    numbers: Mapping[int, int]

    def of(self, held: NDArray[Any]) -> UInt8[np.ndarray, "H W"]:
        """Return the classes of what pixels hold.

        Raises:
            ValueError: naming what is no class.
        """
        known = np.array(sorted(self.numbers), np.int64)
        classes = np.array([self.numbers[number] for number in known.tolist()], np.uint8)
        if held.dtype == np.uint8:  # A table is faster than a search.
            table = np.full(256, -1, np.int16)
            small = known < len(table)
            table[known[small]] = classes[small]
            found = table[held]
            if found.min(initial=0) < 0:
                raise ValueError(name_held(np.unique(held[found < 0]).tolist()))
            made: UInt8[np.ndarray, "H W"] = found.astype(np.uint8)
            return made
        places = np.searchsorted(known, held).clip(max=len(known) - 1)
        if (known[places] != held).any():
            raise ValueError(name_held(np.unique(held[known[places] != held]).tolist()))
        chosen: UInt8[np.ndarray, "H W"] = classes[places]
        return chosen

    def unknown(self, held: Iterable[int]) -> str:
        """Name what pixels hold that is no class; nothing where all is."""
        return name_held([number for number in held if number not in self.numbers])

    def counts(self, held: Mapping[int, int]) -> list[int]:
        """Return the pixels of each class, of those that hold what."""
        counts = [0] * len(self.names)
        for number, count in held.items():
            if self.numbers[number] != UNKNOWN:
                counts[self.numbers[number]] += count
        return counts

    def numbered_as(self, names: Sequence[str]) -> "MaskClasses":
        """Return the same with the classes, which are among ``names``, in their order."""
        order = [*map(names.index, self.names)]
        numbers = {number: order[place] if place != UNKNOWN else UNKNOWN for number, place in self.numbers.items()}
        return replace(self, names=tuple(names), colours=(), numbers=numbers)


def name_held(held: Sequence[int]) -> str:
    """Say in words what pixels hold."""
    said = [
        str(number) if number < COLOUR else f"colour {number >> 16 & 255},{number >> 8 & 255},{number & 255}"
        for number in held[:5]
    ]
    return ", ".join(said) + (f" and {len(held) - 5} more" if len(held) > 5 else "")


def read_mask(path: Path, classes: MaskClasses, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "H W"]:
    """Return the class of each pixel of a mask; ``UNKNOWN`` where it is not known.

    Raises:
        ImageFileError: where there is no mask, or a pixel of it is of no class.
    """
    held = read_held(path, colours_among(classes.numbers), max_pixels)
    try:
        return classes.of(held)
    except ValueError as error:
        raise ImageFileError(
            expected=f"a mask of the classes {', '.join(classes.names[:5])}{' ...' if classes.names[5:] else ''}",
            path=path,
            reason=f"pixels with {error}",
            remedy="`striate check --task segment` looks at all masks.",
        ) from error


def colours_among(numbers: Iterable[int]) -> frozenset[int]:
    """Return those of what pixels can hold that are colours."""
    return frozenset(number for number in numbers if number >= COLOUR)


def known_colours(root: Path, masks: MaskOptions | MaskClasses) -> frozenset[int]:
    """Return the colours that stand for classes in a data set's masks, before any mask is read."""
    if isinstance(masks, MaskClasses):
        return colours_among(masks.numbers)
    path = find_classes_file(root, masks)
    named = {} if path is None else read_classes(path)
    return frozenset(_as_number(one.colour) for one in named.values() if one.colour is not None)


def find_classes(root: Path, options: MaskOptions, held: Iterable[int]) -> MaskClasses:
    """Return the classes of a data set's masks.

    Args:
        root: its folder, or its list.
        options: how masks are read.
        held: what the pixels hold that are learned from; they are the classes where no file says them.

    Raises:
        UsageError: for a file of classes that cannot be read, or fewer than two classes, or more than 255.
    """
    path, there = find_classes_file(root, options), set(held)
    if path is None:
        numbers = sorted(there - _numbers_of(options.ignored, None))
        if colours := sorted(colours_among(numbers)):
            raise UsageError(
                expected=f"masks with a number for each class, or a file that names the colours: {CLASSES_FILE} in "
                f"{spell(root if root.is_dir() else root.parent)}, or --classes FILE",
                received=f"masks with {name_held(colours)}, and no such file",
                remedy="A line for each class, such as: road 128 64 128.",
            )
        named = {number: NamedClass(str(number)) for number in numbers}
    else:
        named = read_classes(path)
    ignored = _numbers_of(options.ignored, named if path else None)
    learned = [number for number in named if number not in ignored]
    places = {number: place for place, number in enumerate(learned)}
    classes = dict.fromkeys(ignored, UNKNOWN) | places
    for number, one in named.items():
        if one.colour is not None:
            classes[_as_number(one.colour)] = classes[number]
    seen = {classes[number] for number in there if number in classes} - {UNKNOWN}
    if len(seen) < 2 or len(learned) > UNKNOWN:
        usual = " Masks of black and white want --ignore none." if options.ignored == USUALLY_IGNORED else ""
        raise UsageError(
            expected=f"masks of 2 to {UNKNOWN} classes in {spell(root)}",
            received=f"pixels of {len(seen)}: {name_held(sorted(there)) or 'none'} "
            f"(ignored: {', '.join(options.ignored)})",
            remedy=f"--classes FILE names them, and --ignore says which number or name is not known.{usual}",
        )
    coloured = (named[number].colour for number in learned)
    return MaskClasses(
        tuple(named[number].name for number in learned),
        tuple(colour for colour in coloured if colour is not None),
        classes,
    )


def _as_number(colour: Colour) -> int:
    return COLOUR + (colour[0] << 16) + (colour[1] << 8) + colour[2]


def _numbers_of(ignored: Iterable[str], named: Mapping[int, NamedClass] | None) -> set[int]:
    names = {one.name: number for number, one in (named or {}).items()}
    found = set()
    for each in ignored:
        if each in names:
            found.add(names[each])
        elif each.isdecimal():
            found.add(int(each))
        elif each != NONE:
            raise UsageError(
                expected="--ignore as a number that masks hold, a name in the file of classes, or none",
                received=repr(each),
                remedy=nearest(each, names) if names else "There is no file of classes: name one with --classes.",
            )
    return found
