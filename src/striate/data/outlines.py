"""Which pixels of an image are a thing's: polygons, runs of pixels, or a number in a picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from striate.data.frames import Size
from striate.data.levels import COLOUR, read_held
from striate.units import format_size

LETTER, CHUNK, MORE, SIGN = 48, 31, 32, 16  # Of runs as text: the first letter, and what the bits of each say.


@dataclass(frozen=True, slots=True, eq=False)
class Polygons:
    """The inside of one or more polygons.

    Args:
        points: x and y of each corner, in pixels, of each of them.
    """

    points: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Pixels run by run, column after column: so many that are not the thing's, so many that are, and so on.

    Args:
        counts: of the runs.
        size: (height, width) of the image.
    """

    counts: NDArray[np.int64]
    size: Size


@dataclass(frozen=True, slots=True, eq=False)
class Numbered:
    """The pixels of a picture that hold a number.

    Args:
        pixels: the picture's file, or what its pixels hold, height x width.
        number: the thing's.
    """

    pixels: Path | NDArray[np.integer]
    number: int


Outline = Polygons | Runs | Numbered


def read_numbers(path: Path, max_pixels: int) -> NDArray[Any]:
    """Return what the pixels of a picture hold, height x width: numbers, or for each colour but black one of its own.

    Raises:
        ImageFileError: where it cannot be read, or has more pixels.
    """
    held = read_held(path, max_pixels=max_pixels)
    return np.where(held == COLOUR, 0, held)


def draw(outlines: Sequence[Outline], size: Size) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """Yield the mask of each outline, at the size of the image: 1 where a pixel is the thing's.

    Polygons are filled as COCO does it, by whose rules masks are scored.
    """
    read: dict[Path, NDArray[np.integer]] = {}
    for outline in outlines:
        match outline:
            case Polygons():
                yield _fill(outline, size)
            case Runs():
                values = np.arange(len(outline.counts), dtype=np.uint8) & 1
                yield np.repeat(values, outline.counts).reshape(size[::-1]).T
            case Numbered():
                yield np.equal(_numbers_of(outline.pixels, size, read), outline.number).astype(np.uint8)


def _numbers_of(
    pixels: Path | NDArray[np.integer], size: Size, read: dict[Path, NDArray[np.integer]]
) -> NDArray[np.integer]:
    if not isinstance(pixels, Path):
        return pixels
    if pixels not in read:
        read[pixels] = read_numbers(pixels, size[0] * size[1])
    return read[pixels]


def _fill(outline: Polygons, size: Size) -> UInt8[np.ndarray, "H W"]:
    from faster_coco_eval.core import mask

    runs = mask.frPyObjects([points.reshape(-1).tolist() for points in outline.points], *size)
    filled: UInt8[np.ndarray, "H W"] = np.asarray(mask.decode(mask.merge(runs)), np.uint8)
    return filled


def parse_outline(said: Any) -> Outline | None:
    """Read an outline as COCO's files have it: polygons, or runs as numbers or as text; None for an empty one.

    Raises:
        ValueError: where it is none of these.
    """
    if said is None or (isinstance(said, list) and not said):
        return None
    if isinstance(said, list):
        points = tuple(_points(polygon) for polygon in said)
        return Polygons(points)
    if not isinstance(said, Mapping) or not {"counts", "size"} <= set(said):
        raise ValueError("an outline that is neither polygons nor runs")
    size, counts = said["size"], said["counts"]
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise ValueError("runs without the size of their image")
    if isinstance(counts, str):
        counts = parse_runs(counts)
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError("runs that are no numbers of pixels")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"runs of {sum(counts):,} pixels for an image of {format_size((size[0], size[1]))}")
    return Runs(np.array(counts, np.int64), (size[0], size[1]))


def _points(polygon: Any) -> NDArray[np.float64]:
    is_flat = isinstance(polygon, list) and all(isinstance(number, int | float) for number in polygon)
    if not is_flat or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon that is not x and y of three points or more")
    return np.array(polygon, np.float64).reshape(-1, 2)


def parse_runs(text: str) -> list[int]:
    """Return the runs that a text stands for, in the compressed form of COCO's files.

    Each run but the first three is kept as its difference to the one before the last; of every letter, less 48, five
    bits belong to the number, lowest first, and the sixth says that it goes on; the fifth of its last letter is the
    sign.

    Raises:
        ValueError: where it is no such text.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - LETTER
        if not 0 <= bits <= CHUNK + MORE or shift > 30:
            raise ValueError("runs whose text cannot be read")
        value |= (bits & CHUNK) << shift
        shift += 5
        if bits & MORE:
            continue
        if bits & SIGN:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("runs whose text is cut short")
    return counts


def fault_of_outline(outline: Outline, size: Size) -> str:
    """Say what is wrong with an outline in an image of (height, width); nothing where nothing is."""
    if isinstance(outline, Runs) and outline.size != size:
        return f"runs of {format_size(outline.size)} for an image of {format_size(size)} pixels"
    if isinstance(outline, Polygons):
        limits = np.array(size[::-1])
        for points in outline.points:
            # As far outside as this they are a mistake, and would take long to fill.
            if not np.isfinite(points).all() or (points < -limits).any() or (points > 2 * limits).any():
                return "a polygon far outside of the image"
    return ""
