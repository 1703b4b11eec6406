"""Data sets opened and split: folders of images, tables of them, MNIST's own format, and what comes with libraries."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from striate.data.checks import expect_classes, find_problems, notes_of
from striate.data.cifar import has_cifar_files, read_cifar_folder
from striate.data.drawn import load_shapes
from striate.data.embedded import load_digits
from striate.data.fetching import Fetching, fetch
from striate.data.findings import some
from striate.data.idx import has_idx_files, read_idx_folder
from striate.data.keyed import Use, key
from striate.data.names import FETCHED, find_data
from striate.data.reading import Inspecting, Reading, images_of, inspect_listing, list_files
from striate.data.sets import ImageFiles, ImageSet, ImageTensors, Splits, split_by_class
from striate.errors import UsageError
from striate.files import spell

Result = TypeVar("Result")
Images = TypeVar("Images", bound=ImageSet)

TEST_SHARE = 0.2
VAL_SHARE = 0.1
SHAPES = "shapes"

Opening = Fetching | Inspecting


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
            is embedded or fetched. With masks: a folder or a list as `striate.data.pairs` takes it. With boxes: what
            `striate.data.annotated` takes, or ``shapes``.
        seed: decides which images are kept for validation and for testing, where the set has no such parts. Files of
            the same content stay together.
        reading: how files are read.

    Raises:
        UsageError: where nothing is found under that name, or it cannot be read or learned.
    """
    path, reading = (yield from locate(data)), reading or Reading()
    _expect_wanted(path, data, reading)
    if data == SHAPES and path is None:
        assert reading.boxes is not None
        drawn = load_shapes(reading.boxes.mask_side)
        return Splits(data, drawn["train"], drawn["val"], drawn["test"])
    if path is not None and tensor_reader(path) is None:
        splits = yield from _read_files(path, seed, reading)
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
    listing = list_files(path, reading)
    total = len(listing.items) + len(listing.missing)
    expect_classes(listing)
    listing, files = yield from inspect_listing(listing, reading)
    expect_classes(listing)
    parts = {part: images_of(listing, files, part, reading) for part in listing.parts}
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


def _expect_wanted(path: Path | None, data: str, reading: Reading) -> None:
    """Refuse a set that has no masks or boxes where these are wanted, or has boxes where they are not.

    Raises:
        UsageError: for such a set.
    """
    is_drawn = path is None and data == SHAPES
    if is_drawn and reading.boxes is None:
        raise UsageError(
            expected="images with a class or a number each" if reading.masks is None else "images with masks",
            received=f"{data}, whose images have boxes",
            remedy="Say --task detect.",
        )
    if is_drawn or (path is not None and tensor_reader(path) is None):
        return
    if reading.masks is not None:
        raise UsageError(
            expected="images with masks, to learn a class for each pixel",
            received=f"{data}, whose images have one class each",
            remedy="Give a folder with images and masks, or train a network for whole images.",
        )
    if reading.boxes is not None:
        raise UsageError(
            expected="images with boxes, to learn to find things",
            received=f"{data}, whose images have one class each",
            remedy="Give images with boxes, or train a network for whole images.",
        )


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
    _expect_wanted(path, data, reading)
    if path is None and data == SHAPES:
        assert reading.boxes is not None
        drawn = load_shapes(reading.boxes.mask_side)
        name = part_of(data, part, tuple(drawn))
        _expect_known(data, drawn[name].classes, classes)
        return name, replace(drawn[name], classes=classes)
    if path is None or tensor_reader(path) is not None:
        train, test, _ = _read_tensors(path, data, 0)
        tensors = {"train": train, "test": test}
        name = part_of(data, part, tuple(tensors))
        chosen = tensors[name]
        _expect_kind(data, False, classes)
        _expect_known(data, chosen.classes, classes)
        numbers = torch.tensor([classes.index(each) for each in chosen.classes])
        return name, replace(chosen, labels=numbers[chosen.labels], classes=classes, name=f"{data} {name}")
    listing = list_files(path, reading)
    name = part_of(data, part, listing.parts)
    _expect_kind(data, listing.has_numbers, classes)
    _expect_known(data, listing.classes.get(name, ()), classes)
    listing, files = yield from inspect_listing(replace(listing, items=listing.of(name)), reading)
    if listing.has_boxes:
        _expect_known(data, listing.classes[name], classes)
    if listing.mask_classes is not None:
        _expect_known(data, listing.names, classes)
        listing = replace(listing, mask_classes=listing.mask_classes.numbered_as(classes))
    return name, images_of(listing, files, name, reading, classes)


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
            remedy="Rename the classes as they were in training, or leave these out; of masks, --classes names them.",
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
