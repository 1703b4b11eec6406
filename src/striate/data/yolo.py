"""Boxes in text files as YOLO's trainers take them, a file for each image, and a YAML file that names the classes.

Each line is a class's number and four shares of the image's sides: x and y of the box's middle, width and height
(Redmon et al., "You only look once", 2016, section 2). Lines with more numbers are x and y of a polygon's corners.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from striate.data.annotations import Annotation, Fault, Instance, tidied, unreadable
from striate.data.frames import Size
from striate.data.listing import ORDER, Item, Listing, list_images
from striate.data.outlines import Polygons
from striate.errors import UsageError
from striate.files import spell

SETTINGS = (".yaml", ".yml")
KEYS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class YoloFile:
    """What is known of one image.

    Args:
        path: of the text file; where there is none, nothing is in the image.
        names: of the classes.
    """

    path: Path
    names: tuple[str, ...]

    def read(self, size: Size) -> Annotation:
        """Return what is known of an image of (height, width)."""
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return Annotation()
        except (OSError, UnicodeDecodeError) as error:
            return unreadable(f"{spell(self.path.name)}: {' '.join(str(error).split())}")
        instances, faults = [], []
        for place, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    instances.append(self._instance(line, size))
                except IndexError:
                    known = f"of {len(self.names)} classes"
                    faults.append(Fault("unknown class", f"{spell(self.path.name)}: {line!r} in line {place}, {known}"))
                except (ValueError, OverflowError):
                    faults.append(Fault("annotation", f"{spell(self.path.name)}: {line!r} in line {place}"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        return tidied(instances, size, said=None, digest=digest, faults=faults)

    def _instance(self, line: str, size: Size) -> Instance:
        first, *rest = line.split()
        number, shares = int(float(first)), np.array([float(each) for each in rest])
        if number < 0:
            raise IndexError
        label, sides = self.names[number], np.array(size[::-1])
        if len(shares) == 4:
            corners = np.concatenate([shares[:2] - shares[2:] / 2, shares[:2] + shares[2:] / 2])
            left, top, right, bottom = (corners * np.tile(sides, 2)).tolist()
            return Instance((left, top, right, bottom), label)
        if len(shares) < 6 or len(shares) % 2:
            raise ValueError
        points = shares.reshape(-1, 2) * sides
        (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
        return Instance((left, top, right, bottom), label, outline=Polygons((points,)))


def find_yolo(path: Path) -> Path | None:
    """Return the YAML file that describes such data, or None: the path itself, or the one in a folder."""
    if path.is_file():
        return path if path.suffix.lower() in SETTINGS else None
    named = [file for file in (path / "data.yaml", path / "data.yml", path / "dataset.yaml") if file.is_file()]
    return named[0] if named else None


def list_yolo(path: Path) -> Listing:
    """List the images that a YAML file names.

    Args:
        path: the file, with ``names`` and ``train``, perhaps ``val`` and ``test``; or a folder with one. The label of
            ``images/a.jpg`` is ``labels/a.txt``.

    Raises:
        UsageError: where it cannot be read, or names what is not there.
    """
    file = find_yolo(path)
    assert file is not None
    settings = _settings(file)
    names = _class_names(file, settings.get("names"))
    items: list[Item] = []
    parts = {KEYS[key]: value for key, value in settings.items() if key in KEYS and value}
    for part in sorted(parts, key=ORDER.index):
        images = _images(file, settings.get("path"), parts[part])
        items += [Item(image, part, "", annotated=YoloFile(_label_of(image), names)) for image in images]
    if items and not any(_label_of(item.path).is_file() for item in items):
        raise UsageError(
            expected=f"a text file with boxes for the images of {spell(file)}",
            received=f"none for any of {len(items):,}, such as {spell(_label_of(items[0].path))}",
            remedy="The boxes of images/a.jpg belong into labels/a.txt.",
        )
    return Listing(path, tuple(items), dict.fromkeys(parts, names))


def _settings(file: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _bad_settings(file, " ".join(str(error).split())) from error
    if not isinstance(found, dict) or "names" not in found or "train" not in found:
        raise _bad_settings(file, f"keys {', '.join(map(str, found))}" if isinstance(found, dict) else "no keys")
    return found


def _class_names(file: Path, said: Any) -> tuple[str, ...]:
    if isinstance(said, dict) and sorted(said) == list(range(len(said))):
        said = [said[number] for number in range(len(said))]
    if not isinstance(said, list) or not said or len({*map(str, said)}) < len(said):
        raise _bad_settings(file, f"names: {said!r}")
    return tuple(map(str, said))


def _images(file: Path, base: Any, said: Any) -> Iterator[Path]:
    """Yield the images of a part: of folders, or as a text file lists them."""
    for each in said if isinstance(said, list) else [said]:
        bases = [file.parent / str(base)] if base else []
        plain = str(each).removeprefix("../").removeprefix("./")  # Written for a folder beside this one, often enough.
        candidates = [folder / name for folder in (*bases, file.parent) for name in (str(each), plain)]
        place = next((candidate for candidate in candidates if candidate.exists()), None)
        if place is None:
            raise _bad_settings(file, f"{each!r}, which is not there")
        if place.is_dir():
            yield from list_images(place)
        else:
            try:
                lines = place.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise _bad_settings(file, f"{each!r}: {' '.join(str(error).split())}") from error
            yield from (place.parent / line.strip() for line in lines if line.strip())


def _label_of(image: Path) -> Path:
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _bad_settings(file: Path, received: str) -> UsageError:
    return UsageError(
        expected=f"in {spell(file)} `names`, the classes by number, and `train`, the folder of the images to learn "
        "from; perhaps `val` and `test`",
        received=received,
        remedy="Paths count from that file's folder, or from its `path`.",
    )
