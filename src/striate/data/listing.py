"""What lies in a data set before anything is read: the files of each part, with the class or the number of each."""

import csv
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from striate.data.annotations import Annotated
from striate.data.images import SUFFIXES
from striate.data.masks import MaskClasses
from striate.errors import UsageError, nearest
from striate.files import spell

# Folders of parts, and what each part is called here.
PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
ORDER = ("", "train", "val", "test")
LARGEST = 1e100  # Of numbers to learn: their squares are still numbers.


@dataclass(frozen=True, slots=True)
class Item:
    """One image file.

    Args:
        path: of it.
        part: ``train``, ``val`` or ``test``; empty where the set is not divided.
        label: the name of its class, or its number; empty where its pixels have classes, or it has boxes.
        mask: the file of the pixels' classes.
        annotated: where its boxes are.
    """

    path: Path
    part: str
    label: str | float
    mask: Path | None = None
    annotated: Annotated | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a data set.

    Args:
        root: the folder, or the table's file.
        items: the images, in order of part, class and name.
        classes: of each part, in order of name, with or without images; of boxes in the data's own order, once these
            are known; empty where numbers or masks are learned.
        hidden: folders that are passed over, since their names begin with a dot.
        others: files that are passed over, since they have no image's suffix or lie outside the classes.
        mask_classes: of the pixels of masks, once these were looked at; None where there are none.
        missing: images that are named, but not there, in words.
    """

    root: Path
    items: tuple[Item, ...]
    classes: dict[str, tuple[str, ...]]
    hidden: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    mask_classes: MaskClasses | None = None
    missing: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that there are; one empty name where the set is not divided."""
        return tuple(dict.fromkeys(item.part for item in self.items))

    @property
    def has_numbers(self) -> bool:
        """Whether a number is known of each image, rather than a class."""
        return any(isinstance(item.label, float) for item in self.items)

    @property
    def has_masks(self) -> bool:
        """Whether each image has a mask, rather than a class."""
        return any(item.mask is not None for item in self.items)

    @property
    def has_boxes(self) -> bool:
        """Whether each image has boxes, rather than a class."""
        return any(item.annotated is not None for item in self.items)

    @property
    def learned(self) -> str:
        """The part to learn from: ``train``, or the one without a name."""
        return "train" if "train" in (*self.classes, *self.parts) else ""

    @property
    def names(self) -> tuple[str, ...]:
        """The one map of classes, from the part to train on, in order of name, or of masks, by number."""
        return self.classes.get(self.learned, ()) if self.mask_classes is None else self.mask_classes.names

    def name_of(self, path: Path) -> str:
        """Return a file's path as it is said to people: without the folder of all, where it lies in that."""
        root = self.root if self.root.is_dir() else self.root.parent
        return spell(path.relative_to(root) if path.is_relative_to(root) else path)

    def of(self, part: str) -> tuple[Item, ...]:
        """Return the images of one part."""
        return tuple(item for item in self.items if item.part == part)


def list_data(path: Path) -> Listing:
    """List a folder of class folders, one with such a folder for each part, or a table.

    Raises:
        UsageError: where it is none of these, or holds no images.
    """
    found = _list_table(path) if path.is_file() else _list_folder(path)
    if not found.items:
        raise UsageError(
            expected=f"image files in {spell(path)}",
            received=describe(path),
            remedy=f"Put each image into a folder named for its class, below {spell(path)}; "
            "or give a CSV file with columns path and label.",
        )
    return found


def describe(path: Path) -> str:
    """Say what lies at a path, in a few words."""
    if not path.is_dir():
        return "a file"
    names = sorted(spell(entry.name) for entry in path.iterdir())
    return f"a folder with {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}" if names else "an empty folder"


def _list_folder(root: Path) -> Listing:
    hidden: list[Path] = []
    others: list[Path] = []
    folders = list(_folders(root, hidden, others))
    if any(PARTS.get(folder.name) == "train" for folder in folders):
        others += [folder for folder in folders if folder.name not in PARTS]
        found = by_part(root, ((folder.name, folder) for folder in folders))
        parts = {part: list(_folders(folder, hidden, others)) for part, folder in found.items()}
    else:
        parts = {"": folders}
    items: list[Item] = []
    for part in sorted(parts, key=ORDER.index):
        for folder in parts[part]:
            _expect_text(folder)
            items += [Item(path, part, folder.name) for path in sorted(_images(folder, hidden, others))]
    classes = {part: tuple(folder.name for folder in parts[part]) for part in sorted(parts, key=ORDER.index)}
    return Listing(root, tuple(items), classes, tuple(hidden), tuple(others))


def by_part(root: Path, named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Return what is named as a part is, by part.

    Args:
        root: the data's folder.
        named: what may be one, by name; others are passed over.

    Raises:
        UsageError: for two of one part.
    """
    parts: dict[str, Path] = {}
    for name, entry in named:
        part = PARTS.get(name)
        if part in parts:
            raise UsageError(
                expected=f"one place for the {part} images in {spell(root)}",
                received=f"{spell(parts[part].name)} and {spell(entry.name)}",
                remedy="Put them together.",
            )
        if part is not None:
            parts[part] = entry
    return parts


def _expect_text(folder: Path) -> None:
    """Refuse a class whose name is bytes of no script: it is to be saved with the weights, and printed."""
    try:
        folder.name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            expected="folders with names in UTF-8, which become the classes",
            received=spell(folder),
            remedy="Rename that folder.",
        ) from error


def _folders(root: Path, hidden: list[Path], others: list[Path]) -> Iterator[Path]:
    for entry in sorted(entries_of(root)):
        if entry.name.startswith("."):
            hidden += [entry] if entry.is_dir() else []
        elif entry.is_dir():
            yield entry
        else:
            others.append(entry)


def entries_of(folder: Path) -> list[Path]:
    """Return what lies in a folder.

    Raises:
        UsageError: where it cannot be read.
    """
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UsageError(
            expected=f"a folder that can be read at {spell(folder)}",
            received=error.strerror or str(error),
            remedy="Change its permissions, or leave it out.",
        ) from error


def _images(folder: Path, hidden: list[Path], others: list[Path]) -> Iterator[Path]:
    """Yield the image files below a folder, through links too, but into no folder twice: links may go in circles."""
    seen, waiting = set[str](), [folder]
    while waiting:
        here = waiting.pop()
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        for entry in entries_of(here):
            if entry.name.startswith("."):
                hidden += [entry] if entry.is_dir() else []
            elif entry.is_dir():
                waiting.append(entry)
            elif entry.suffix.lower() in SUFFIXES:
                yield entry
            else:
                others.append(entry)


def list_images(folder: Path) -> list[Path]:
    """Return all image files below a folder, in order of name; hidden ones and other files are passed over."""
    return sorted(_images(folder, [], []))


def _list_table(path: Path) -> Listing:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _bad_table(path, " ".join(str(error).split())) from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    columns = ("path", "label"), ("path", "number")
    wanted = next((pair for pair in columns if set(pair) <= set(header)), None)
    if wanted is None or not set(header) <= {*wanted, "split"} or len(set(header)) < len(header):
        unknown = next((cell for cell in header if cell not in ("path", "label", "number", "split")), "")
        guess = f". {nearest(unknown, ('path', 'label', 'number', 'split'))}" if unknown and len(header) > 1 else ""
        raise _bad_table(path, f"columns {', '.join(map(repr, header)) or 'none'}{guess}".rstrip("."))
    items = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(header):
            raise _bad_table(path, f"{len(row)} cells in line {number}, not {len(header)}")
        cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
        items.append(_item_of(path, number, cells, wanted[1]))
    parts = {item.part for item in items}
    if "" in parts and len(parts) > 1:
        raise _bad_table(path, "lines with a split and lines without")
    if parts - {""} and "train" not in parts:
        raise _bad_table(path, f"no line with split train, only {', '.join(sorted(parts))}")
    items.sort(key=lambda item: ORDER.index(item.part))
    classes = {
        part: tuple(sorted({str(item.label) for item in items if item.part == part}))
        for part in sorted(parts, key=ORDER.index)
        if wanted[1] == "label"
    }
    return Listing(path, tuple(items), classes)


def _item_of(path: Path, line: int, cells: dict[str, str], column: str) -> Item:
    text, part = cells[column], cells.get("split", "").lower()
    if part and part not in PARTS:
        raise _bad_table(path, f"split {part!r} in line {line}, none of {', '.join(PARTS)}")
    if not cells["path"] or "\0" in cells["path"] or not text:
        raise _bad_table(path, f"an empty {column if cells['path'] else 'path'} in line {line}")
    label: str | float = text
    if column == "number":
        try:
            label = float(text)
        except ValueError:
            label = math.nan
        if not abs(label) <= LARGEST:
            raise _bad_table(path, f"{text!r} in line {line}, which is no number, or one beyond {LARGEST:g}")
    return Item(path.parent / cells["path"], PARTS.get(part, ""), label)


def _bad_table(path: Path, received: str) -> UsageError:
    return UsageError(
        expected=f"in {spell(path)} a CSV table with a first line `path,label` (classes) or `path,number` (numbers to "
        "predict), and a column `split` (train, val, test) if it is divided",
        received=received,
        remedy="Paths count from the table's own folder.",
    )
