"""Masks: pictures whose pixels are classes, by number or by colour."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from striate.data.images import ImageFileError, read_levels
from striate.data.names import MAX_PIXELS, MaskOptions
from striate.errors import UsageError, nearest
from striate.files import spell
from striate.results import UNKNOWN, Colour

MOST = LARGEST = 255  # Classes, and of each of a colour's levels.
COLOUR = 1 << 24  # Added to red · 65,536 + green · 256 + blue, so that no number is taken for a colour.
CLASSES_FILE = "classes.txt"
LEVELS = r"(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})"
COLOUR_FIRST, COLOUR_LAST = re.compile(rf"{LEVELS}[\s,]+(.+)"), re.compile(rf"(.+?)[\s,]+{LEVELS}")


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

    def of(self, held: NDArray[np.integer]) -> UInt8[np.ndarray, "H W"]:
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


def read_held(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.integer]:
    """Return what the pixels of a mask hold, H x W: numbers, or colours as numbers from ``COLOUR`` on.

    A picture with a palette holds numbers. Transparency is not looked at.

    Raises:
        ImageFileError: where there is no mask.
    """
    levels = read_levels(path, max_pixels)
    if levels.ndim == 2:
        return levels
    red, green, blue = (levels[:, :, place].astype(np.int64) for place in range(3))
    held: NDArray[np.integer] = COLOUR + (red << 16) + (green << 8) + blue
    return held


def read_mask(path: Path, classes: MaskClasses, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "H W"]:
    """Return the class of each pixel of a mask; ``UNKNOWN`` where it is not known.

    Raises:
        ImageFileError: where there is no mask, or a pixel of it is of no class.
    """
    held = read_held(path, max_pixels)
    try:
        return classes.of(held)
    except ValueError as error:
        raise ImageFileError(
            expected=f"a mask of the classes {', '.join(classes.names[:5])}{' ...' if classes.names[5:] else ''}",
            path=path,
            reason=f"pixels with {error}",
            remedy="`striate check --task segment` looks at all masks.",
        ) from error


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    colour: Colour | None


def find_classes(root: Path, options: MaskOptions, held: Iterable[int]) -> MaskClasses:
    """Return the classes of a data set's masks.

    Args:
        root: its folder, or its list.
        options: how masks are read.
        held: what the pixels hold that are learned from; they are the classes where no file says them.

    Raises:
        UsageError: for a file of classes that cannot be read, more than 255 classes, or none.
    """
    folder = root if root.is_dir() else root.parent
    path = options.classes or (folder / CLASSES_FILE if (folder / CLASSES_FILE).is_file() else None)
    if path is None:
        numbers = sorted(set(held) - _numbers_of(options.ignored, None))
        colours = [number for number in numbers if number >= COLOUR]
        if colours:
            raise UsageError(
                expected=f"masks with a number for each class, or a file that names the colours: {CLASSES_FILE} in "
                f"{spell(folder)}, or --classes FILE",
                received=f"masks with {name_held(colours)}, and no such file",
                remedy="A line for each class, such as: road 128 64 128.",
            )
        lines = {number: _Line(str(number), None) for number in numbers}
    else:
        lines = dict(enumerate(_read_lines(path)))
    ignored = _numbers_of(options.ignored, lines if path else None)
    learned = [number for number in lines if number not in ignored]
    if not 1 < len(learned) <= MOST:
        what = f"ignored: {', '.join(options.ignored)}" if options.ignored else "none ignored"
        raise UsageError(
            expected=f"masks of 2 to {MOST} classes in {spell(root)}",
            received=f"{len(learned)}: {name_held(learned) or 'none'} ({what})",
            remedy="--classes FILE names them, and --ignore says which number or name is not known.",
        )
    places = {number: place for place, number in enumerate(learned)}
    classes = dict.fromkeys(ignored, UNKNOWN) | places
    for number, line in lines.items():
        if line.colour is not None:
            classes[_as_number(line.colour)] = classes[number]
    coloured = [lines[number].colour for number in learned]
    return MaskClasses(
        tuple(lines[number].name for number in learned),
        tuple(colour for colour in coloured if colour is not None) if None not in coloured else (),
        classes,
    )


def _as_number(colour: Colour) -> int:
    return COLOUR + (colour[0] << 16) + (colour[1] << 8) + colour[2]


def _numbers_of(ignored: Iterable[str], lines: Mapping[int, _Line] | None) -> set[int]:
    names = {line.name: number for number, line in (lines or {}).items()}
    found = set()
    for each in ignored:
        if each in names:
            found.add(names[each])
        elif each.isdecimal():
            found.add(int(each))
        elif each != "none":
            raise UsageError(
                expected="--ignore as a number that masks hold, a name in the file of classes, or none",
                received=repr(each),
                remedy=nearest(each, names) if names else "There is no file of classes: name one with --classes.",
            )
    return found


def _read_lines(path: Path) -> list[_Line]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_file(path, " ".join(str(error).split())) from error
    found: list[_Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line:
            continue
        if (said := COLOUR_LAST.fullmatch(line)) is not None:
            name, levels = said[1], said.group(2, 3, 4)
        elif (said := COLOUR_FIRST.fullmatch(line)) is not None:
            name, levels = said[4], said.group(1, 2, 3)
        else:
            name, levels = line, ()
        colour = (int(levels[0]), int(levels[1]), int(levels[2])) if levels else None
        if re.fullmatch(LEVELS, line) or (colour is not None and max(colour) > LARGEST):
            raise _bad_file(path, f"{line!r} in line {number}")
        if any(name == other.name for other in found):
            raise _bad_file(path, f"{name!r} a second time, in line {number}")
        if colour is not None and any(colour == other.colour for other in found):
            raise _bad_file(path, f"the colour of {name!r} a second time, in line {number}")
        found.append(_Line(name, colour))
    return found


def _bad_file(path: Path, received: str) -> UsageError:
    return UsageError(
        expected=f"in {spell(path)} a line for each number from 0 that masks hold: a class's name, and its colour "
        "where it has one, such as: road 128 64 128",
        received=received,
        remedy="Names and colours are there once each.",
    )
