"""Files that name the classes of masks, in the forms in which people write them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from striate.data.names import CLASSES_FILE, MaskOptions
from striate.errors import UsageError
from striate.files import spell
from striate.results import Colour

LARGEST = 255  # Of a colour's levels.
LEVELS = r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})"
COLOUR_FIRST, COLOUR_LAST = re.compile(rf"{LEVELS}[\s,;]+(.+)"), re.compile(rf"(.+?)[\s,;]+{LEVELS}")
WITH_COLONS = re.compile(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(?::.*)?")  # As CVAT's labelmap.txt has it.
NUMBER = re.compile(r"(\d+)[\s:;,.)]+(.+)")
FOUR = re.compile(rf"(?:^|[\s,;]){LEVELS}[\s,;]+\d")
HEADER = re.compile(
    r"(?:(?:id|index|number)[\s,;]+)?(?:name|class|label)\w*[\s,;]+r(?:ed)?[\s,;]+g(?:reen)?[\s,;]+b(?:lue)?", re.I
)


@dataclass(frozen=True, slots=True)
class NamedClass:
    """One class of masks.

    Args:
        name: of it.
        colour: that stands for it; None where nobody says.
    """

    name: str
    colour: Colour | None = None


def find_classes_file(root: Path, options: MaskOptions) -> Path | None:
    """Return the file that names a data set's classes; None where there is none."""
    beside = (root if root.is_dir() else root.parent) / CLASSES_FILE
    return options.classes or (beside if beside.is_file() else None)


def read_classes(path: Path) -> dict[int, NamedClass]:
    """Return the classes in a file by their numbers: those that the lines begin with, or else their place from 0.

    Raises:
        UsageError: for a file that cannot be read, or can be read in several ways.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_file(path, " ".join(str(error).split())) from error
    said = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    said = [(number, line) for number, line in said if not line.startswith("#")]
    if said and HEADER.fullmatch(said[0][1]):
        said = said[1:]
    numbers = _numbers([line for _, line in said])
    found: dict[int, NamedClass] = {}
    for place, (number, line) in enumerate(said):
        if numbers is not None:
            line = line[line.index(str(numbers[place])) + len(str(numbers[place])) :].lstrip(" \t:;,.)")
        one = _read_line(path, number, line)
        if any(one.name == other.name for other in found.values()):
            raise _bad_file(path, f"{one.name!r} a second time, in line {number}")
        if one.colour is not None and any(one.colour == other.colour for other in found.values()):
            raise _bad_file(path, f"the colour of {one.name!r} a second time, in line {number}")
        found[place if numbers is None else numbers[place]] = one
    coloured = sum(one.colour is not None for one in found.values())
    if coloured not in (0, len(found)):
        raise _bad_file(path, f"{coloured} lines with a colour of {len(found)}")
    return found


def _numbers(lines: list[str]) -> list[int] | None:
    """Return the numbers that all lines begin with, each larger than the one before; None where they do not."""
    found = [NUMBER.match(line) for line in lines]
    begins = [int(each[1]) for each in found if each is not None]
    rises = all(one < other for one, other in pairwise(begins))
    if len(begins) < len(lines) or not rises:
        return None
    return None if all(COLOUR_FIRST.fullmatch(line) and not FOUR.match(line) for line in lines) else begins


def _read_line(path: Path, number: int, line: str) -> NamedClass:
    pieces = next(_split(line), None)
    is_colour_alone = re.fullmatch(LEVELS, line) is not None
    if not line or is_colour_alone or FOUR.search(line):
        raise _bad_file(path, f"{line!r} in line {number}")
    if pieces is None:
        return NamedClass(line)
    name, (red, green, blue) = pieces
    if max(red, green, blue) > LARGEST:
        raise _bad_file(path, f"{line!r} in line {number}")
    return NamedClass(name, (red, green, blue))


def _split(line: str) -> Iterator[tuple[str, Colour]]:
    for pattern, name, first in ((WITH_COLONS, 1, 2), (COLOUR_LAST, 1, 2), (COLOUR_FIRST, 4, 1)):
        if (said := pattern.fullmatch(line)) is not None:
            yield said[name].strip(), (int(said[first]), int(said[first + 1]), int(said[first + 2]))


def _bad_file(path: Path, received: str) -> UsageError:
    return UsageError(
        expected=f"in {spell(path)} a line for each number from 0 that masks hold: a class's name, and its colour "
        "where classes have one, such as: road 128 64 128",
        received=received,
        remedy="Names and colours are there once each; a line may begin with its number, as in: 7 road 128 64 128.",
    )
