"""Images with masks: lists of pairs, or folders in which each image's mask has its name."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from striate.data.listing import ORDER, PARTS, Item, Listing, describe, list_images
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
    if lists:
        parts = sorted(lists.items(), key=lambda found: ORDER.index(found[0]))
        return Listing(path, tuple(item for part, file in parts for item in _listed(file, part)), {})
    items, others = list[Item](), list[Path]()
    for part, images, masks in sorted(_folders(path), key=lambda found: ORDER.index(found[0])):
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
    return path.is_dir() and (bool(_lists(path)) or any(True for _ in _folders(path)))


def _lists(folder: Path) -> Mapping[str, Path]:
    """Return the lists of pairs in a folder, by part; none where there is nothing to learn from."""
    found = {PARTS[file.stem]: file for file in sorted(folder.glob("*.txt")) if file.stem in PARTS}
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


def _folders(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield the folders of images and of masks of each part."""
    images, masks = _one_of(root, IMAGES), _one_of(root, MASKS)
    if images is not None and masks is not None:
        parts = {PARTS[each.name]: each for each in sorted(images.iterdir()) if each.is_dir() and each.name in PARTS}
        if "train" not in parts:
            yield "", images, masks
        for part, folder in parts.items() if "train" in parts else ():
            yield part, folder, masks / folder.name
        return
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and folder.name in PARTS:
            images, masks = _one_of(folder, IMAGES), _one_of(folder, MASKS)
            if images is not None and masks is not None:
                yield PARTS[folder.name], images, masks


def _one_of(folder: Path, names: Iterable[str]) -> Path | None:
    there = {each.name.lower(): each for each in folder.iterdir() if each.is_dir()}
    return next((there[name] for name in names if name in there), None)


def matched(part: str, images: Path, masks: Path, others: list[Path]) -> Iterator[Item]:
    """Yield each image with the mask of its name.

    Raises:
        UsageError: for an image without one.
    """
    known = {mask.relative_to(masks).with_suffix(""): mask for mask in list_images(masks)} if masks.is_dir() else {}
    used, missing = set[Path](), list[Path]()
    for image in list_images(images):
        name = image.relative_to(images).with_suffix("")
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


def _bad_list(path: Path, received: str) -> UsageError:
    return UsageError(
        expected=f"in each line of {spell(path)} an image and its mask, such as: images/a.jpg masks/a.png",
        received=received,
        remedy="Names count from the list's own folder; a tab or a comma parts them where they have spaces.",
    )
