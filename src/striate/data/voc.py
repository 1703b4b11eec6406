"""Boxes in the XML files of the Pascal VOC challenge, a file for each image.

Its corners are pixels, counted from 1, and both belong to the box (Everingham et al., "The Pascal visual object classes
challenge", 2010): xmin, ymin, xmax, ymax become (xmin - 1, ymin - 1, xmax, ymax).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from striate.data.annotations import Annotation, Instance, tidied, unreadable
from striate.data.frames import Size
from striate.data.images import SUFFIXES
from striate.data.listing import ORDER, PARTS, Item, Listing, list_images
from striate.errors import UsageError
from striate.files import spell

XML, IMAGES = ("Annotations", "annotations", "xml"), ("JPEGImages", "PNGImages", "images", "Images")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
TREE = "annotation"  # The name of the outermost element.


@dataclass(frozen=True, slots=True)
class VocFile:
    """What is known of one image.

    Args:
        path: of the XML file.
    """

    path: Path

    def read(self, size: Size) -> Annotation:
        """Return what is known of an image of (height, width)."""
        try:
            data = self.path.read_bytes()
            root = _parsed(data)
            if root.tag != TREE:
                raise ValueError(f"XML of another kind, <{root.tag}>")
            instances = [_instance(found) for found in root.iterfind("object")]
            sides = [int(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width")]
        except (OSError, ValueError, OverflowError, expat.ExpatError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return unreadable(f"{spell(self.path.name)}: {' '.join(reason.split())}")
        said = (sides[0], sides[1]) if all(sides) else None  # Some writers leave it at 0.
        return tidied(instances, size, said=said, digest=hashlib.sha256(data).hexdigest())


def _parsed(data: bytes) -> Element:
    """Return the tree of a file that declares nothing of its own: entities could grow without end, or read files."""

    def refuse(*_said: object) -> None:
        raise ValueError("a document type of its own, which is not read")

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(data, True)
    return builder.close()


def _instance(found: Element) -> Instance:
    name = (found.findtext("name") or "").strip()
    texts = [found.findtext(f"bndbox/{corner}") for corner in CORNERS]
    if not name or None in texts:
        raise ValueError("an object without a name, or without a bndbox of xmin, ymin, xmax and ymax")
    left, top, right, bottom = (float(text or "") for text in texts)
    is_difficult = (found.findtext("difficult") or "0").strip() == "1"
    return Instance((left - 1, top - 1, right, bottom), name, difficult=is_difficult)


@dataclass(frozen=True, slots=True)
class _Place:
    part: str
    images: Path
    files: Path


def has_voc(path: Path) -> bool:
    """Tell whether a folder holds such files, beside its images or in a folder of their own."""
    return path.is_dir() and any(True for _ in _places(path))


def _places(root: Path) -> Iterator[_Place]:
    found = list(_place("", root))
    if not found:
        parts = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name in PARTS]
        found = [place for folder in parts for place in _place(PARTS[folder.name], folder)]
    yield from found


def _place(part: str, folder: Path) -> Iterator[_Place]:
    files = next((folder / name for name in XML if any((folder / name).glob("*.xml"))), None)
    if files is not None:
        yield _Place(part, next((folder / name for name in IMAGES if (folder / name).is_dir()), folder), files)
    elif any(folder.glob("*.xml")) and any(entry.suffix.lower() in SUFFIXES for entry in folder.iterdir()):
        yield _Place(part, folder, folder)


def list_voc(path: Path) -> Listing:
    """List the images of a folder with XML files.

    Args:
        path: a folder with JPEGImages and Annotations, divided by ImageSets/Main/train.txt, val.txt and test.txt where
            these are there (trainval.txt, where there is no train.txt); or with XML files beside the images; or with
            folders train, val and test of either kind.

    Raises:
        UsageError: where a list cannot be read.
    """
    items, missing, others = list[Item](), list[str](), list[Path]()
    for place in sorted(_places(path), key=lambda place: ORDER.index(place.part)):
        found = list_images(place.images)
        images = {image.relative_to(place.images).with_suffix("").as_posix(): image for image in found}
        files = {file.stem: file for file in sorted(place.files.glob("*.xml"))}
        lists = _lists(path) if place.part == "" else {}
        for part, names in (lists or {place.part: [*files]}).items():
            for name in names:
                file = files.get(name, place.files / f"{name}.xml")
                if name in images:
                    items.append(Item(images[name], part, "", annotated=VocFile(file)))
                else:
                    missing.append(f"{name}, the image of {spell(file.relative_to(path))}")
        others += [image for name, image in images.items() if not lists and name not in files]
    return Listing(path, tuple(items), {}, others=tuple(others), missing=tuple(missing))


def _lists(root: Path) -> dict[str, list[str]]:
    """Return the names of each part's images, as the folder's lists say."""
    folder = root / "ImageSets" / "Main"
    found = {part: folder / f"{part}.txt" for part in ORDER if part and (folder / f"{part}.txt").is_file()}
    if "train" not in found and (folder / "trainval.txt").is_file():
        found = {"train": folder / "trainval.txt"} | {part: file for part, file in found.items() if part == "test"}
    if "train" not in found:
        return {}
    return {part: _names(file) for part, file in found.items()}


def _names(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            expected=f"in each line of {spell(path)} the name of an image, without its suffix",
            received=" ".join(str(error).split()),
            remedy="Mend it, or take ImageSets away: the set is divided by seed then.",
        ) from error
    return [line.split()[0] for line in lines if line.strip()]
