"""Files of a data set looked at, and its parts as sets of images."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from striate.counted import Counted
from striate.data.annotated import has_boxes, list_boxes
from striate.data.box_checks import boxes_of_classes
from striate.data.boxed import BoxedFiles
from striate.data.checks import common_channels, expect_all, expect_pixels, expect_readable
from striate.data.inspection import Inspected, inspect_files
from striate.data.listing import Listing, list_data
from striate.data.masked import MaskedFiles
from striate.data.masks import MaskClasses, find_classes, known_colours
from striate.data.names import MAX_PIXELS, BoxOptions, MaskOptions
from striate.data.pairs import has_pairs, list_pairs
from striate.data.sets import ImageFiles
from striate.errors import UsageError
from striate.files import spell


class Inspecting(Counted):
    """Files are being looked at before they are used."""

    what = "looking at files"


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Args:
        skip_bad: decode all of them first, and leave out what is no image.
        max_pixels: an image of more is bad.
        workers: processes that look at files; 0 does it in this one.
        masks: how masks are read, or the classes of what they hold; None where there are none.
        boxes: how boxes are read, likewise. With neither, each image has one class or number.
    """

    skip_bad: bool = False
    max_pixels: int = MAX_PIXELS
    workers: int = 0
    masks: MaskOptions | MaskClasses | None = None
    boxes: BoxOptions | None = None


def list_files(path: Path, reading: Reading) -> Listing:
    """List the files of a data set.

    Raises:
        UsageError: where there are no images, or masks or boxes where none are wanted.
    """
    if reading.masks is not None:
        return list_pairs(path)
    if reading.boxes is not None:
        return list_boxes(path)
    if has_boxes(path):
        raise UsageError(
            expected=f"in {spell(path)} a class or a number for each image",
            received="images with boxes",
            remedy="Say --task detect.",
        )
    if has_pairs(path):
        raise UsageError(
            expected=f"in {spell(path)} a class or a number for each image",
            received="images with masks",
            remedy="Say --task segment.",
        )
    return list_data(path)


def inspect_all(
    listing: Listing, reading: Reading, *, decode: bool
) -> Generator[Inspecting, None, tuple[Listing, tuple[Inspected, ...]]]:
    """Look at all files of a data set, telling how far it is; return it with all its classes, and what the files are.

    Raises:
        UsageError: where masks have no classes that could be told apart.
    """
    files = []
    colours = frozenset[int]() if reading.masks is None else known_colours(listing.root, reading.masks)
    found = inspect_files(
        listing.items, decode=decode, max_pixels=reading.max_pixels, workers=reading.workers, colours=colours
    )
    for file in found:
        files.append(file)
        yield Inspecting(len(files), len(listing.items))
    if reading.boxes is not None:
        return replace(listing, classes=_classes_of_boxes(listing, files)), tuple(files)
    if reading.masks is None or all(file.problem for file in files):
        return listing, tuple(files)
    classes = reading.masks
    if isinstance(classes, MaskOptions):
        learned = [file for file in files if file.item.part == listing.learned]
        held = {number for file in learned if file.mask is not None for number in file.mask.held}
        classes = find_classes(listing.root, classes, held)
    looked = []
    for file in files:
        unknown = classes.unknown(file.mask.held) if file.mask is not None else ""
        problem = f"its mask has pixels with {unknown}, which are no classes" if unknown else file.problem
        looked.append(replace(file, problem=problem))
    return replace(listing, mask_classes=classes), tuple(looked)


def _classes_of_boxes(listing: Listing, files: Sequence[Inspected]) -> dict[str, tuple[str, ...]]:
    """Return the classes of each part: those that the data name, to learn from, and those of the boxes otherwise."""
    counts = boxes_of_classes(files)
    classes = {part: tuple(sorted({name for own, name in counts if own == part})) for part in listing.parts}
    return classes | {part: names for part, names in listing.classes.items() if part == listing.learned}


def inspect_listing(
    listing: Listing, reading: Reading
) -> Generator[Inspecting, None, tuple[Listing, tuple[Inspected, ...]]]:
    """Look at the files of a data set; return it, and what they are, without the bad ones.

    Raises:
        UsageError: for files that are no images, unless they are to be left out.
    """
    listing, files = yield from inspect_all(listing, reading, decode=reading.skip_bad)
    if not reading.skip_bad:
        expect_all(listing)
        expect_readable(listing, files)
    good = tuple(file for file in files if not file.problem)
    if not good:
        raise UsageError(
            expected=f"images in {spell(listing.root)}",
            received=f"{len(files):,} files, of which none can be read",
            remedy="`striate check` says what is wrong with each.",
        )
    listing = replace(listing, items=tuple(file.item for file in good))
    expect_pixels(listing, good)
    return listing, good


def images_of(
    listing: Listing, files: Sequence[Inspected], part: str, reading: Reading, classes: tuple[str, ...] | None = None
) -> ImageFiles:
    """Return the files of one part as a set of images.

    Args:
        listing: of the data set.
        files: the same, looked at.
        part: of it.
        reading: how files are read.
        classes: in the order in which they are numbered; the data set's own by default.
    """
    chosen = [file for file in files if file.item.part == part]
    names = listing.names if classes is None else classes
    numbers = {name: number for number, name in enumerate(names)}
    if listing.has_numbers:
        labels = torch.tensor([file.item.label for file in chosen], dtype=torch.float64)
    elif listing.mask_classes is not None or listing.has_boxes:
        labels = torch.zeros(len(chosen), dtype=torch.int64)
    else:
        labels = torch.tensor([numbers[str(file.item.label)] for file in chosen], dtype=torch.int64)
    shared: dict[str, Any] = {
        "paths": tuple(file.item.path for file in chosen),
        "labels": labels,
        "classes": names,
        "digests": tuple(file.digest for file in chosen),
        "pictures": tuple(file.pixels_digest or file.digest for file in chosen),
        "sizes": tuple((0, 0) if file.header is None else file.header.size for file in chosen),
        "channels": _channels_of(listing, files),
        "max_pixels": reading.max_pixels,
    }
    if reading.boxes is not None:
        return _with_boxes(listing, files, part, reading.boxes, shared)
    if listing.mask_classes is None:
        return ImageFiles(**shared)
    looked = [(file.item.mask, file.mask) for file in chosen if file.item.mask is not None and file.mask is not None]
    return MaskedFiles(
        **shared,
        masks=tuple(path for path, _ in looked),
        mask_digests=tuple(mask.digest for _, mask in looked),
        mask_classes=listing.mask_classes,
        mask_pixels=torch.tensor([listing.mask_classes.counts(mask.held) for _, mask in looked]).view(len(looked), -1),
    )


def _with_boxes(
    listing: Listing, files: Sequence[Inspected], part: str, options: BoxOptions, shared: dict[str, Any]
) -> BoxedFiles:
    """Return the images of one part with their boxes, filled up to as many as any image of any part has.

    Raises:
        UsageError: where masks are wanted, and a thing that is to be learned has no outline.
    """
    known = [(file.item.part, file.annotation) for file in files if file.annotation is not None]
    every = [annotation for own, annotation in known if own == part]
    bare = [each for annotation in every for each in annotation.instances if each.outline is None and not each.ignored]
    if options.mask_side is not None and bare:
        raise UsageError(
            expected=f"an outline of each thing in {spell(listing.root)}, to learn masks",
            received=f"{len(bare):,} boxes without",
            remedy="Give data with polygons or masks of things, or train a network for boxes alone.",
        )
    most = max((len(annotation.instances) for _, annotation in known), default=0)
    return BoxedFiles(**shared, annotations=tuple(every), most=max(most, 1), mask_side=options.mask_side)


def _channels_of(listing: Listing, files: Sequence[Inspected]) -> int:
    """Return 1 where all images are grey, 3 where some have colour, or as many as all of them have."""
    counts = {file.header.channels for file in files if file.header is not None}
    channels = common_channels(counts)
    if channels is not None:
        return channels
    raise UsageError(
        expected=f"images with the same number of channels in {spell(listing.root)}, or grey and colour ones",
        received=" and ".join(map(str, sorted(counts))),
        remedy="`striate check` lists the files.",
    )
