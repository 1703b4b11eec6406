"""DATA as a user names it: a path if it exists, else an embedded set, or one that is fetched."""

from dataclasses import dataclass
from pathlib import Path

from striate.data.remote import REMOTE
from striate.errors import UsageError, nearest

EMBEDDED = ("digits", "shapes")
FETCHED = tuple(REMOTE)
NAMED = EMBEDDED + FETCHED
CLASSES_FILE = "classes.txt"
USUALLY_IGNORED = ("255",)  # As in masks of Pascal VOC and Cityscapes.
MAX_PIXELS = 90_000_000  # An image of more is refused unless somebody allows it.


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How masks are read.

    Args:
        classes: a file with a line for each number from 0: the class's name, and its colour (red, green, blue) before
            or behind it where it has one; None for ``classes.txt`` in the data's folder, or else the numbers
            themselves.
        ignored: numbers, or names in that file, of what is not known.
    """

    classes: Path | None = None
    ignored: tuple[str, ...] = USUALLY_IGNORED


@dataclass(frozen=True, slots=True)
class BoxOptions:
    """How boxes are read.

    Args:
        mask_side: of the mask of each thing within its box, as `striate.data.box_targets` keeps it; None for boxes
            alone.
    """

    mask_side: int | None = None


def find_data(data: str) -> Path | None:
    """Return the path that ``data`` names, or None for a set that has a name.

    Raises:
        UsageError: where it is neither.
    """
    path = Path(data)
    if path.exists():
        return path
    if data in NAMED:
        return None
    raise UsageError(
        expected="a folder of images, a CSV table, or the name of a set",
        received=f"{data!r}, which is neither",
        remedy=f"{nearest(data, NAMED)} A relative path counts from this folder: {Path.cwd()}.",
    )
