"""Boxes in COCO's JSON files, one file for many images.

A ``bbox`` is x and y of the top left corner, width and height, in pixels and parts of them, counted from 0 (Lin et al.,
"Microsoft COCO: common objects in context", 2014): it becomes (x, y, x + width, y + height).
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.data.annotations import Annotation, Fault, Instance, tidied
from striate.data.frames import Size
from striate.data.listing import ORDER, PARTS, Item, Listing
from striate.data.outlines import parse_outline
from striate.errors import UsageError
from striate.files import spell

# What else such files can be about, by a key that only these have.
OTHERS = {
    "caption": "captions, which are sentences about images",
    "keypoints": "keypoints of bodies",
    "segments_info": "a panoptic map, a class and a number for each pixel",
    "score": "detections, which a network has made",
}
PREFIX = "instances"  # Of the files with boxes, where others lie beside them.
ALONE = ("*.coco.json", "instances*.json", "annotations.json")


@dataclass(frozen=True, slots=True)
class CocoImage:
    """What is known of one image.

    Args:
        instances: in it, as they were read.
        said: (height, width), as the file says; None where it does not.
        faults: of what could not be read.
        digest: of all that.
    """

    instances: tuple[Instance, ...]
    said: Size | None
    faults: tuple[Fault, ...]
    digest: str

    def read(self, size: Size) -> Annotation:
        """Return what is known of an image of (height, width)."""
        return tidied(self.instances, size, said=self.said, digest=self.digest, faults=self.faults)


def has_coco(path: Path) -> bool:
    """Tell whether a path is such a file, or a folder with some."""
    return path.suffix.lower() == ".json" if path.is_file() else bool(_files(path))


def list_coco(path: Path) -> Listing:
    """List the images that JSON files name.

    Args:
        path: a file; or a folder with such files, in ``annotations`` or beside the images, one for each part, whose
            name says which: ``instances_train2017.json``, ``train/_annotations.coco.json``.

    Raises:
        UsageError: where a file cannot be read, is about something else, or two are about one part.
    """
    files = _parts(path) if path.is_dir() else {"": path}
    items, missing, classes = list[Item](), list[str](), dict[str, tuple[str, ...]]()
    for part in sorted(files, key=ORDER.index):
        document = _loaded(files[part])
        names = _categories(files[part], document)
        if part == ("train" if "train" in files else ""):  # Of what is judged by, those count that are there.
            classes[part] = tuple(names.values())
        items += _items(path, part, files[part], document, names, missing)
    passed = [file for file in _files(path) if file not in files.values()] if path.is_dir() else []
    return Listing(path, tuple(items), classes, others=tuple(passed), missing=tuple(missing))


def _files(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    found = sorted((root / "annotations").glob("*.json"))
    for folder in (root, *(each for each in sorted(root.iterdir()) if each.is_dir() and each.name in PARTS)):
        found += [file for pattern in ALONE for file in sorted(folder.glob(pattern))]
    return list(dict.fromkeys(found))


def _parts(root: Path) -> dict[str, Path]:
    """Return the file of each part; those of a name that is about boxes, where there are such."""
    files = _files(root)
    files = [file for file in files if file.name.startswith(PREFIX)] or files
    parts: dict[str, Path] = {}
    for file in files:
        part = _part_of(file)
        if part in parts:
            raise UsageError(
                expected=f"one JSON file with boxes for each part of {spell(root)}",
                received=f"{spell(parts[part].name)} and {spell(file.name)}",
                remedy="Name one of them as DATA, or take the others away.",
            )
        parts[part] = file
    if len(parts) > 1 and "" in parts:
        raise UsageError(
            expected=f"JSON files in {spell(root)} whose names say train, val or test",
            received=spell(parts[""].name),
            remedy="Rename it, or take it away.",
        )
    return {"": next(iter(parts.values()))} if len(parts) == 1 else parts


def _part_of(file: Path) -> str:
    words = re.findall("[a-z]+", file.stem.lower())
    return next((PARTS[word] for word in (*words, file.parent.name) if word in PARTS), "")


def _loaded(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_file(file, " ".join(str(error).split()) or type(error).__name__) from error
    if not isinstance(document, list | dict):
        raise _bad_file(file, type(document).__name__)
    records = document if isinstance(document, list) else document.get("annotations", [])
    first = records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else {}
    for key, what in OTHERS.items():
        if key in first:
            raise _bad_file(file, what)
    lists = ("images", "annotations", "categories")
    if isinstance(document, list) or not all(_is_of_records(document.get(name)) for name in lists):
        said = "a list" if isinstance(document, list) else f"keys {', '.join(document)}"
        raise _bad_file(file, said)
    return dict(document)


def _is_of_records(said: Any) -> bool:
    return isinstance(said, list) and all(isinstance(each, dict) for each in said)


def _categories(file: Path, document: dict[str, Any]) -> dict[Any, str]:
    try:
        found = sorted((_id(each["id"]), str(each["name"])) for each in document["categories"])
    except (KeyError, TypeError) as error:
        raise _bad_file(file, "a category without id or name") from error
    names = dict(found)
    if len({*names.values()}) < len(found):
        raise _bad_file(file, "two categories of one name or id")
    return names


def _items(
    root: Path, part: str, file: Path, document: dict[str, Any], names: dict[Any, str], missing: list[str]
) -> Iterator[Item]:
    records: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for record in document["annotations"]:
        records[_id(record.get("image_id"))].append(record)
    if len({_id(image.get("id")) for image in document["images"]}) < len(document["images"]):
        raise _bad_file(file, "two images of one id")
    folders = _folders(root, part, file)
    for image in document["images"]:
        name = image.get("file_name")
        if not isinstance(name, str) or "id" not in image:
            raise _bad_file(file, "an image without id or file_name")
        own = records.pop(_id(image["id"]), [])
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            missing.append(f"{name}, named in {spell(file.name)}")
        else:
            yield Item(path, part, "", annotated=_annotated(image, own, names))
    for number, lost in records.items():
        missing.append(f"image {number}, of {len(lost):,} boxes in {spell(file.name)}")


def _folders(root: Path, part: str, file: Path) -> Sequence[Path]:
    """Return where the images of a part can be."""
    base = root if root.is_dir() else file.parent.parent if file.parent.name == "annotations" else file.parent
    own = re.sub(f"^{PREFIX}_?", "", file.stem)  # train2017 of instances_train2017.
    names = dict.fromkeys(("", own, *(name for name, meant in PARTS.items() if meant == part)))
    folders = [file.parent, *(base / middle / name for middle in ("", "images") for name in names)]
    return list(dict.fromkeys(folders))


def _annotated(image: dict[str, Any], records: list[dict[str, Any]], names: dict[Any, str]) -> CocoImage:
    instances, faults = list[Instance](), list[Fault]()
    for record in records:
        try:
            instances.append(_instance(record, names))
        except LookupError:
            category = f"category {record.get('category_id')}, which has no name"
            faults.append(Fault("unknown class", f"annotation {record.get('id')}: {category}"))
        except (ValueError, OverflowError) as error:
            faults.append(Fault("annotation", f"annotation {record.get('id')}: {error}"))
    sides = image.get("height"), image.get("width")
    said = (sides[0], sides[1]) if isinstance(sides[0], int) and isinstance(sides[1], int) and all(sides) else None
    digest = hashlib.sha256(json.dumps([image, records], sort_keys=True, default=str).encode())
    return CocoImage(tuple(instances), said, tuple(faults), digest.hexdigest())


def _instance(record: dict[str, Any], names: dict[Any, str]) -> Instance:
    label, box = names[_id(record["category_id"])], record.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(each, int | float) for each in box):
        raise ValueError("a bbox that is not x, y, width and height")
    x, y, width, height = map(float, box)
    outline = parse_outline(record.get("segmentation"))
    return Instance((x, y, x + width, y + height), label, crowd=bool(record.get("iscrowd")), outline=outline)


def _id(said: Any) -> Any:
    """Return an id as one that can be looked up, whatever it is."""
    return said if isinstance(said, int | str) else repr(said)


def _bad_file(file: Path, received: str) -> UsageError:
    return UsageError(
        expected=f"in {spell(file)} COCO's images, categories and annotations, each of these with a bbox",
        received=received,
        remedy="The files of COCO with boxes are called instances_*.json.",
    )
