"""Images with masks: lists of pairs, or folders in which each image's mask has its name."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from striate.data.listing import ORDER, Item, Listing, by_part, describe, entries_of, list_images
from striate.errors import UsageError
from striate.files import spell

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "annotations")
ENDINGS = ("", "_mask")  # Of a mask's name, behind its image's.


def list_pairs(path: Path) -> Listing:
    """List the images of a data set, each with its mask.

    Args:
        path: a text file with an image and its mask in each line; a folder with such files, train.txt and others; or a
            folder with ``images`` and ``masks``, which may be in folders of parts or have them.

    Raises:
        UsageError: where it is none of these, or an image has no mask.
    """
    if path.is_file():
        return Listing(path, tuple(_listed(path, "")), {})
    lists = _lists(path)
    if lists and (_is_list(lists["train"]) or not any(True for _ in _folders(path, []))):
        parts = sorted(lists.items(), key=lambda found: ORDER.index(found[0]))
        return Listing(path, tuple(item for part, file in parts for item in _listed(file, part)), {})
    items, others = list[Item](), list[Path]()
    for part, images, masks in sorted(_folders(path, others), key=lambda found: ORDER.index(found[0])):
        items += matched(part, images, masks, others)
    if not items:
        raise UsageError(
            expected=f"images and their masks in {spell(path)}",
            received=describe(path),
            remedy="Put them into folders images and masks, each mask with its image's name; or write train.txt, "
            "val.txt and test.txt, with an image and its mask in each line.",
        )
    return Listing(path, tuple(items), {}, others=tuple(others))


def has_pairs(path: Path) -> bool:
    """Tell whether a folder is one of images with masks, rather than of classes."""
    if not path.is_dir():
        return False
    lists = _lists(path)
    return _is_list(lists["train"]) if lists else any(True for _ in _folders(path, []))


def _is_list(path: Path) -> bool:
    """Tell whether a text file begins with an image and its mask: others have such a file beside folders of classes."""
    try:
        return next(_listed(path, ""), None) is not None
    except UsageError:
        return False


def _lists(folder: Path) -> Mapping[str, Path]:
    """Return the lists of pairs in a folder, by part; none where there is nothing to learn from."""
    files = [entry for entry in sorted(entries_of(folder)) if entry.is_file() and entry.suffix.lower() == ".txt"]
    found = by_part(folder, ((file.stem.lower(), file) for file in files))
    return found if "train" in found else {}


def _listed(path: Path, part: str) -> Iterator[Item]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_list(path, " ".join(str(error).split())) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cut = "\t" if "\t" in line else "," if "," in line else None  # Or any space.
        names = [name.strip() for name in line.strip().split(cut)]
        if len(names) != 2 or not all(names):
            raise _bad_list(path, f"{line!r} in line {number}")
        image, mask = (path.parent / name for name in names)
        if not image.is_file() or not mask.is_file():
            raise _bad_list(path, f"{spell(mask if image.is_file() else image)} in line {number}, which is not there")
        yield Item(image, part, "", mask)


def _folders(root: Path, others: list[Path]) -> Iterator[tuple[str, Path, Path]]:
    """Yield the folders of images and of masks of each part; what is passed over comes to ``others``."""
    below = _folders_in(root)
    images, masks = _one_of(below, IMAGES), _one_of(below, MASKS)
    if images is None or masks is None:
        for part, folder in by_part(root, _lower(below)).items():
            inside = _folders_in(folder)
            images, masks = _one_of(inside, IMAGES), _one_of(inside, MASKS)
            if images is not None and masks is not None:
                yield part, images, masks
            else:
                others.append(folder)
        return
    of_images, of_masks = (by_part(folder, _lower(_folders_in(folder))) for folder in (images, masks))
    if "train" not in of_images:
        yield "", images, masks
    else:
        for part, folder in of_images.items():
            yield part, folder, of_masks.get(part, masks / folder.name)


def _folders_in(folder: Path) -> list[Path]:
    return [entry for entry in sorted(entries_of(folder)) if entry.is_dir()]


def _lower(folders: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    return ((folder.name.lower(), folder) for folder in folders)


def _one_of(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    there = dict(_lower(folders))
    return next((there[name] for name in names if name in there), None)


def matched(part: str, images: Path, masks: Path, others: list[Path]) -> Iterator[Item]:
    """Yield each image with the mask of its name.

    Raises:
        UsageError: for an image without one.
    """
    known = _by_name(masks, list_images(masks)) if masks.is_dir() else {}
    used, missing = set[Path](), list[Path]()
    for name, image in _by_name(images, list_images(images)).items():
        mask = next((known[each] for end in ENDINGS if (each := name.with_name(name.name + end)) in known), None)
        if mask is None:
            missing.append(image)
        else:
            used.add(mask)
            yield Item(image, part, "", mask)
    if missing:
        raise UsageError(
            expected=f"a mask of the same name in {spell(masks)} for each image in {spell(images)}",
            received=f"{len(missing):,} without, such as {spell(missing[0].name)}",
            remedy="Add them, or take the images out. A mask is named as its image, with _mask at the end or without.",
        )
    others += [mask for mask in known.values() if mask not in used]


def _by_name(folder: Path, files: Iterable[Path]) -> dict[Path, Path]:
    """Return files by their names without endings.

    Raises:
        UsageError: for two of one name: nobody knows which belongs to which.
    """
    found: dict[Path, Path] = {}
    for file in files:
        name = file.relative_to(folder).with_suffix("")
        if name in found:
            raise UsageError(
                expected=f"one picture of each name in {spell(folder)}",
                received=f"{spell(found[name].name)} and {spell(file.name)}",
                remedy="Take one of them out.",
            )
        found[name] = file
    return found


def _bad_list(path: Path, received: str) -> UsageError:
    return UsageError(
        expected=f"in each line of {spell(path)} an image and its mask, such as: images/a.jpg masks/a.png",
        received=received,
        remedy="Names count from the list's own folder, with / between folders; a tab or a comma parts the two where "
        "they have spaces.",
    )
