"""Data sets opened and split: folders of images, tables of them, MNIST's own format, and what comes with libraries."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from striate.counted import Counted
from striate.data.checks import common_channels, expect_classes, expect_readable, find_problems, notes_of, some
from striate.data.cifar import has_cifar_files, read_cifar_folder
from striate.data.fetching import Fetching, fetch
from striate.data.idx import has_idx_files, read_idx_folder
from striate.data.inspection import Inspected, inspect_files
from striate.data.keyed import Use, key
from striate.data.listing import Listing, list_data
from striate.data.names import FETCHED, MAX_PIXELS, find_data
from striate.data.sets import ImageFiles, ImageSet, ImageTensors, Splits, split_by_class
from striate.errors import UsageError
from striate.files import spell

Result = TypeVar("Result")
Images = TypeVar("Images", bound=ImageSet)

TEST_SHARE = 0.2
VAL_SHARE = 0.1


class Inspecting(Counted):
    """Files are being looked at before they are used."""

    what = "looking at files"


Opening = Fetching | Inspecting


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Args:
        skip_bad: decode all of them first, and leave out what is no image.
        max_pixels: an image of more is bad.
        workers: processes that look at files; 0 does it in this one.
    """

    skip_bad: bool = False
    max_pixels: int = MAX_PIXELS
    workers: int = 0


def open_data(data: str, seed: int, reading: Reading | None = None) -> Splits:
    """Open a data set and split it, as `read_data` does, without telling how far it is."""
    return finish(read_data(data, seed, reading))


def finish(steps: Generator[object, None, Result]) -> Result:
    """Return what work comes to that tells how far it is."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def read_data(data: str, seed: int, reading: Reading | None = None) -> Generator[Opening, None, Splits]:
    """Open a data set and split it.

    Args:
        data: a folder with a folder of images for each class, or with such folders in train, val and test; a CSV table
            (see `striate.data.listing`); a folder with MNIST-style idx files or CIFAR-10's; or the name of a set that
            is embedded or fetched.
        seed: decides which images are kept for validation and for testing, where the set has no such parts. Files of
            the same content stay together.
        reading: how files are read.

    Raises:
        UsageError: where nothing is found under that name, or it cannot be read or learned.
    """
    path = yield from locate(data)
    if path is not None and tensor_reader(path) is None:
        splits = yield from _read_files(path, seed, reading or Reading())
        return replace(splits, name=data) if data in FETCHED else splits
    train, test, name = _read_tensors(path, data, seed)
    if len(train.classes) < 2:
        raise UsageError(
            expected=f"images of two classes or more in {data}", received="one class", remedy="Add images of another."
        )
    rest, val = _hold_out(train, VAL_SHARE, key(seed, Use.VAL_SPLIT))
    return _expect_parts(Splits(name, rest, replace(val, name=f"{data} val"), replace(test, name=f"{data} test")))


def _read_tensors(path: Path | None, data: str, seed: int) -> tuple[ImageTensors, ImageTensors, str]:
    if path is None:
        return *_hold_out(load_digits(), TEST_SHARE, key(seed, Use.TEST_SPLIT)), data
    read = tensor_reader(path)
    assert read is not None
    return *read(path), data if data in FETCHED else path.resolve().name


def tensor_reader(path: Path) -> Callable[[Path], tuple[ImageTensors, ImageTensors]] | None:
    """Return what reads a folder of images in memory; None for files of their own."""
    formats = ((has_idx_files, read_idx_folder), (has_cifar_files, read_cifar_folder))
    return next((read for is_it, read in formats if is_it(path)), None)


def locate(data: str) -> Generator[Fetching, None, Path | None]:
    """Return where a data set is, fetching it if need be; None for one that comes with a library.

    Raises:
        StriateError: where it is neither there nor can be fetched.
    """
    path = find_data(data)
    if path is None and data in FETCHED:
        path = yield from fetch(data)
    return path


def _read_files(path: Path, seed: int, reading: Reading) -> Generator[Inspecting, None, Splits]:
    listing = list_data(path)
    total = len(listing.items)
    expect_classes(listing)
    listing, files = yield from inspect_listing(listing, reading)
    expect_classes(listing)
    parts = {part: images_of(listing, files, part, listing.names, reading) for part in listing.parts}
    if listing.learned not in parts:
        raise UsageError(
            expected=f"images to learn from in {spell(path)}",
            received=f"{', '.join(parts)} alone",
            remedy="Put images into train.",
        )
    train, val, test = parts[listing.learned], parts.get("val"), parts.get("test")
    if listing.learned == "":
        train, test = _hold_out(train, TEST_SHARE, key(seed, Use.TEST_SPLIT))
    if val is None:
        train, val = _hold_out(train, VAL_SHARE, key(seed, Use.VAL_SPLIT))
    left = total - len(files)
    notes = notes_of(find_problems(listing, files))
    notes = (*([f"images that cannot be read, left out: {left:,}"] if left else []), *notes)
    name = path.resolve().stem if path.is_file() else path.resolve().name
    return _expect_parts(Splits(name, train, val, test, notes))


def inspect_all(
    listing: Listing, reading: Reading, *, decode: bool
) -> Generator[Inspecting, None, tuple[Inspected, ...]]:
    """Look at all files of a data set, telling how far it is, and return what they are."""
    files = []
    found = inspect_files(listing.items, decode=decode, max_pixels=reading.max_pixels, workers=reading.workers)
    for file in found:
        files.append(file)
        yield Inspecting(len(files), len(listing.items))
    return tuple(files)


def inspect_listing(
    listing: Listing, reading: Reading
) -> Generator[Inspecting, None, tuple[Listing, tuple[Inspected, ...]]]:
    """Look at the files of a data set; return it, and what they are, without the bad ones.

    Raises:
        UsageError: for files that are no images, unless they are to be left out.
    """
    files = yield from inspect_all(listing, reading, decode=reading.skip_bad)
    if not reading.skip_bad:
        expect_readable(listing, files)
    good = tuple(file for file in files if not file.problem)
    if not good:
        raise UsageError(
            expected=f"images in {spell(listing.root)}",
            received=f"{len(files):,} files, of which none can be read",
            remedy="`striate check` says what is wrong with each.",
        )
    return replace(listing, items=tuple(file.item for file in good)), good


def read_part(
    data: str, part: str | None, classes: tuple[str, ...], reading: Reading | None = None
) -> Generator[Opening, None, tuple[str, ImageSet]]:
    """Open one part of a data set, to judge by it a network that was trained on another.

    Args:
        data: as for `read_data`.
        part: ``train``, ``val`` or ``test``; by default the last of these that there is, or all of a set that is not
            divided.
        classes: of the network, of which the set's may be some; none for numbers.
        reading: how files are read.

    Returns:
        The part's name, empty where the set is not divided, and its images, their classes numbered as ``classes`` are.

    Raises:
        UsageError: where there is no such part, it cannot be read, or it has other classes.
    """
    reading, path = reading or Reading(), (yield from locate(data))
    if path is None or tensor_reader(path) is not None:
        train, test, _ = _read_tensors(path, data, 0)
        tensors = {"train": train, "test": test}
        name = part_of(data, part, tuple(tensors))
        chosen = tensors[name]
        _expect_kind(data, False, classes)
        _expect_known(data, chosen.classes, classes)
        numbers = torch.tensor([classes.index(each) for each in chosen.classes])
        return name, replace(chosen, labels=numbers[chosen.labels], classes=classes, name=f"{data} {name}")
    listing = list_data(path)
    name = part_of(data, part, listing.parts)
    _expect_kind(data, listing.has_numbers, classes)
    _expect_known(data, listing.classes.get(name, ()), classes)
    listing, files = yield from inspect_listing(replace(listing, items=listing.of(name)), reading)
    return name, images_of(listing, files, name, classes, reading)


def part_of(data: str, part: str | None, parts: Sequence[str]) -> str:
    """Return the part that is asked for, or the last that there is.

    Raises:
        UsageError: where there is no such part.
    """
    if part is None:
        return parts[-1]
    if part not in parts:
        raise UsageError(
            expected=f"one of the parts of {data}: {', '.join(filter(None, parts)) or 'it is not divided'}",
            received=part,
            remedy="Leave --split out, or name another part.",
        )
    return part


def _expect_kind(data: str, has_numbers: bool, classes: tuple[str, ...]) -> None:
    if has_numbers == bool(classes):
        raise UsageError(
            expected=f"{'classes' if classes else 'numbers'} of images, which this network has learned to tell",
            received=f"{'numbers' if classes else 'classes'}, in {data}",
            remedy="Give other data, or another run.",
        )


def _expect_known(data: str, theirs: Sequence[str], classes: tuple[str, ...]) -> None:
    unknown = sorted(set(theirs) - set(classes))
    if classes and unknown:
        raise UsageError(
            expected=f"the classes that the network was trained on, in {data}: {some(sorted(classes))}",
            received=f"{some(unknown)} besides",
            remedy="Rename the classes as they were in training, or leave these out.",
        )


def images_of(
    listing: Listing, files: Sequence[Inspected], part: str, classes: tuple[str, ...], reading: Reading
) -> ImageFiles:
    """Return the files of one part as a set of images, their classes numbered as ``classes`` are."""
    chosen = [file for file in files if file.item.part == part]
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [file.item.label for file in chosen]
    return ImageFiles(
        tuple(file.item.path for file in chosen),
        torch.tensor(labels, dtype=torch.float64)
        if listing.has_numbers
        else torch.tensor([numbers[str(label)] for label in labels], dtype=torch.int64),
        classes,
        tuple(file.digest for file in chosen),
        tuple(file.pixels_digest or file.digest for file in chosen),
        tuple((0, 0) if file.header is None else file.header.size for file in chosen),
        _channels_of(listing, files),
        max_pixels=reading.max_pixels,
    )


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


def _hold_out(images: Images, share: float, seed: int) -> tuple[Images, Images]:
    """Divide a set into the rest and a part with a share of every class; what is there twice stays together."""
    strata: Tensor = images.labels if images.classes else torch.zeros(len(images), dtype=torch.int64)
    groups = images.pictures if isinstance(images, ImageFiles) else None
    rest, part = split_by_class(strata, share, seed, groups)
    return images.subset(rest), images.subset(part)


def _expect_parts(splits: Splits) -> Splits:
    for name, part in splits.parts.items():
        if len(part) == 0:
            raise UsageError(
                expected=f"two images or more of some class in {splits.name}, one of them to learn from, and for a set "
                "that is not divided one to validate and one to test with",
                received=f"{sum(map(len, splits.parts.values()))} images, of which none is left for {name}",
                remedy="Add images.",
            )
    return splits


def load_digits() -> ImageTensors:
    """Return scikit-learn's 1,797 handwritten digits, 8 x 8, written by 13 people.

    They are the test part of "Optical recognition of handwritten digits" (Alpaydin and Kaynak, 1998); each pixel counts
    the inked dots, 0 to 16, of a 4 x 4 square.
    """
    from sklearn import datasets

    found = datasets.load_digits()
    levels = np.rint(found.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(name) for name in found.target_names)
    return ImageTensors(torch.from_numpy(levels).unsqueeze(1), torch.from_numpy(found.target.astype(np.int64)), classes)
