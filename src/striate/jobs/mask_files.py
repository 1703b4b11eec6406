"""A class for each pixel of images of any size: put together on the disk, and written as pictures."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

from striate.data.frames import Size
from striate.errors import StriateError
from striate.files import make_folder, replace_file
from striate.inference.tiles.steps import Region
from striate.reporting.masks import palette_of
from striate.results import Colour
from striate.shapes import Span

TILE = 256  # Pixels of each side of a TIFF's tiles; as many rows are read at once.
LARGEST_TIFF = 2**32 - 2**25  # Bytes; in a larger one, places are numbers of 64 bits.


class DiskMask:
    """A class for each pixel, of which no more than a few rows are in memory.

    Args:
        file: an empty one, for the pixels row by row.
        computed: (height, width) of what is put in.
        size: that of the image, which is what comes out: each of its pixels has the class of the nearest one.
    """

    def __init__(self, file: BufferedRandom, computed: Size, size: Size) -> None:
        self._file, self._computed, self.size = file, computed, size
        self._rows, self._columns = (_nearest(*sides) for sides in zip(computed, size, strict=True))

    def put(self, classes: UInt8[np.ndarray, "h w"], region: Region) -> None:
        """Take in a part."""
        for row, values in enumerate(classes, region.rows.start):
            self._file.seek(row * self._computed[1] + region.columns.start)
            self._file.write(values.tobytes())

    def rows(self, span: Span) -> UInt8[np.ndarray, "h w"]:
        """Return some rows of the image."""
        wanted = self._rows[span.start : span.end]
        computed = self._computed_rows(Span(int(wanted[0]), int(wanted[-1]) + 1))
        chosen: UInt8[np.ndarray, "h w"] = computed[wanted - wanted[0]][:, self._columns]
        return chosen

    def bands(self) -> Iterator[UInt8[np.ndarray, "h w"]]:
        """Yield all rows of the image, a few at a time."""
        height = self.size[0]
        return (self.rows(Span(top, min(top + TILE, height))) for top in range(0, height, TILE))

    def small(self, step: int) -> UInt8[np.ndarray, "h w"]:
        """Return one of ``step`` rows, and columns, of what was put in."""
        rows = range(0, self._computed[0], step)
        return np.concatenate([self._computed_rows(Span(row, row + 1))[:, ::step] for row in rows])

    def shares(self, count: int) -> Float64[np.ndarray, " K"]:
        """Return of each of so many classes its share of the image's pixels."""
        pixels = np.zeros(count, np.int64)
        for band in self.bands():
            for row in band:  # What counts makes eight bytes of each.
                pixels += np.bincount(row, minlength=count)
        shares: Float64[np.ndarray, " K"] = pixels / pixels.sum()
        return shares

    def _computed_rows(self, span: Span) -> UInt8[np.ndarray, "h w"]:
        width = self._computed[1]
        self._file.seek(span.start * width)
        return np.frombuffer(self._file.read(span.size * width), np.uint8).reshape(span.size, width)


def _nearest(computed: int, size: int) -> Int64[np.ndarray, " size"]:
    """Return which of ``computed`` places is nearest to each of ``size`` places of the same side, middle to middle."""
    return (2 * np.arange(size, dtype=np.int64) + 1) * computed // (2 * size)


@contextmanager
def mask_on_disk(computed: Size, size: Size, folder: Path) -> Iterator[DiskMask]:
    """Give an empty mask, in a file without a name on the disk of ``folder``: whatever happens, nothing is left of it.

    Args:
        computed: as for `DiskMask`.
        size: likewise.
        folder: made, where it is missing.

    Raises:
        StriateError: where the file system refuses.
    """
    make_folder(folder)
    try:
        with TemporaryFile(dir=folder) as file:
            yield DiskMask(file, computed, size)
    except OSError as error:
        raise StriateError(
            expected=f"to keep a mask of {size[0] * size[1]:,} bytes in {folder}",
            received=error.strerror or str(error),
            remedy="Free some space, or choose another place with --output.",
        ) from error


def write_png(path: Path, mask: DiskMask, colours: Sequence[Colour]) -> None:
    """Write a mask as a picture with a palette, which is put together in memory.

    Raises:
        StriateError: where the file system refuses.
    """
    picture = Image.fromarray(np.concatenate(list(mask.bands())))
    picture.putpalette(palette_of(colours))
    replace_file(path, lambda beside: picture.save(beside, format="PNG"))


def write_tiff(path: Path, mask: DiskMask, colours: Sequence[Colour]) -> None:
    """Write a mask as a TIFF with a palette, tile by tile.

    Raises:
        StriateError: where the file system refuses.
    """
    from tifffile import imwrite

    height, width = mask.size

    def write(beside: Path) -> None:
        imwrite(
            beside,
            (band[:, left : left + TILE] for band in mask.bands() for left in range(0, width, TILE)),
            shape=mask.size,
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="palette",
            colormap=np.array(palette_of(colours), np.uint16).reshape(-1, 3).T * 257,
            compression="zlib",
            maxworkers=1,
            metadata=None,
            bigtiff=height * width > LARGEST_TIFF,
        )

    replace_file(path, write)
