"""Files looked at one by one: whether each is an image, what kind of one, and its digest."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from striate.data.annotations import Annotation
from striate.data.frames import Size
from striate.data.images import Header, ImageFileError, read_header, read_image
from striate.data.levels import read_held
from striate.data.listing import Item
from striate.data.names import MAX_PIXELS
from striate.files import spell
from striate.units import format_size

ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
TAIL = 4096
FEW = 64


@dataclass(frozen=True, slots=True)
class InspectedMask:
    """What one mask is.

    Args:
        digest: of what its pixels hold; empty where that cannot be read.
        held: how many of its pixels hold what, as `striate.data.masks.read_held` gives it.
        problem: what is wrong with it; empty where nothing is.
    """

    digest: str
    held: Mapping[int, int]
    problem: str = ""


MOST_HELD = 1024  # Numbers or colours in one mask: a photograph has more.


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one file is.

    Args:
        item: the file.
        size_bytes: of it.
        digest: of its bytes; empty where they cannot be read.
        header: what it says of its image; None where that cannot be read.
        problem: what is wrong with it, with its mask or its boxes; empty where nothing is.
        pixels_digest: of the decoded image, where it was decoded; the same for two files of one image.
        mask: of it, where it has one and can be read.
        annotation: the things in it, where their boxes are known and it can be read.
    """

    item: Item
    size_bytes: int
    digest: str
    header: Header | None
    problem: str
    pixels_digest: str = ""
    mask: InspectedMask | None = None
    annotation: Annotation | None = None


def inspect_file(item: Item, *, decode: bool, max_pixels: int = MAX_PIXELS, colours: Collection[int] = ()) -> Inspected:
    """Look at one file, and at its mask or its boxes if it has some.

    Args:
        item: the file.
        decode: all of it; otherwise only one that seems to be cut short, to be sure, and masks.
        max_pixels: an image of more is a problem, and not decoded.
        colours: of masks, that stand for classes, as `striate.data.levels.read_held` gives them.
    """
    try:
        data = item.path.read_bytes()
    except OSError as error:
        return Inspected(item, 0, "", None, error.strerror or str(error))
    digest = hashlib.sha256(data).hexdigest()
    header, pixels_digest = None, ""
    try:
        header = read_header(data, max_pixels)
        if decode or ENDS.get(header.format, b"\0no mark") not in data[-TAIL:]:
            picture = read_image(data, header.channels, max_pixels)
            seen = hashlib.sha256(repr((picture.size, header.channels)).encode())
            seen.update(picture.pixels().numpy().data)
            pixels_digest = seen.hexdigest()
    except ImageFileError as error:
        return Inspected(item, len(data), digest, header, error.reason)
    mask = None if item.mask is None else inspect_mask(item.mask, header.size, colours, max_pixels)
    annotation = None if item.annotated is None else item.annotated.read(header.size)
    problem = mask.problem if mask is not None else annotation.problem if annotation is not None else ""
    return Inspected(item, len(data), digest, header, problem, pixels_digest, mask, annotation)


def inspect_mask(path: Path, size: Size, colours: Collection[int], max_pixels: int = MAX_PIXELS) -> InspectedMask:
    """Look at the mask of an image of (height, width); arguments as for `inspect_file`."""
    try:
        held = read_held(path, colours, max_pixels)
    except ImageFileError as error:
        return InspectedMask("", {}, f"its mask {spell(path.name)}: {error.reason}")
    if held.shape != size:
        sizes = format_size((held.shape[0], held.shape[1])), format_size(size)
        return InspectedMask("", {}, f"a mask of {sizes[0]} for an image of {sizes[1]} pixels")
    numbers, counts = np.unique(held, return_counts=True)
    if len(numbers) > MOST_HELD:
        return InspectedMask("", {}, f"its mask {spell(path.name)} has {len(numbers):,} numbers or colours")
    digest = hashlib.sha256(held.astype(np.int64).data).hexdigest()
    return InspectedMask(digest, dict(zip(numbers.tolist(), counts.tolist(), strict=True)))


class _Files(Dataset[Inspected]):
    def __init__(self, items: Sequence[Item], look: Callable[[Item], Inspected]) -> None:
        self._items, self._look = items, look

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> Inspected:
        return self._look(self._items[place])


def inspect_files(
    items: Sequence[Item],
    *,
    decode: bool,
    max_pixels: int = MAX_PIXELS,
    workers: int = 0,
    colours: Collection[int] = (),
) -> Iterator[Inspected]:
    """Look at files, in order, in several processes where there are many; arguments as for `inspect_file`."""
    files = _Files(items, partial(inspect_file, decode=decode, max_pixels=max_pixels, colours=colours))
    if workers == 0 or len(items) < FEW:
        yield from (files[place] for place in range(len(items)))
        return
    yield from DataLoader(files, batch_size=None, num_workers=min(workers, os.cpu_count() or 1))
