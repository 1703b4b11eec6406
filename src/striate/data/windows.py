"""Images of which parts are read: a picture that is decoded, or a TIFF of which only the tiles that are wanted are."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from striate.data.frames import Size
from striate.data.images import TIFF_MARKS, ImageFileError, Picture, read_image
from striate.data.names import MAX_PIXELS
from striate.shapes import Span

GREY, RGB = 1, 2  # What a TIFF says that its levels are.
TILES = 2  # Of a TIFF that is read: one as it is in the file, and decoded.


@runtime_checkable
class Windows(Protocol):
    """An image of which parts are read."""

    size: Size
    held: int  # Bytes that it keeps of it, or takes while it reads, besides what it returns.

    def read(self, rows: Span, columns: Span) -> UInt8[Tensor, "C h w"]:
        """Return a part of it."""
        ...


class PictureWindows:
    """A picture that is decoded as a whole.

    Args:
        picture: of any size.
    """

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self.size, self.held = picture.size, picture.held

    def read(self, rows: Span, columns: Span) -> UInt8[Tensor, "C h w"]:
        """Return a part of it."""
        return self._picture.window(rows, columns)


class TiffWindows:
    """The first page of a TIFF, decoded where it is looked at.

    Args:
        path: of the file.
        page: of tifffile's.
    """

    def __init__(self, path: Path, page: Any) -> None:
        self._path, self._page = path, page
        self.size: Size = (page.imagelength, page.imagewidth)
        self._tile = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        self.held = TILES * self._tile[0] * self._tile[1] * page.samplesperpixel

    def read(self, rows: Span, columns: Span) -> UInt8[Tensor, "C h w"]:
        """Return a part of it.

        Raises:
            ImageFileError: where the file is damaged there.
        """
        made = np.zeros((rows.size, columns.size, self._page.samplesperpixel), np.uint8)
        (height, width), (_, total) = self._tile, self.size
        across = -(-total // width)
        for row in range(rows.start // height, -(-rows.end // height)):
            for column in range(columns.start // width, -(-columns.end // width)):
                tile = self._decoded(row * across + column)
                if tile is not None:
                    top, left = row * height, column * width
                    down, to = _common(rows, top, tile.shape[0])
                    right, at = _common(columns, left, tile.shape[1])
                    made[to, at] = tile[down, right]
        return torch.from_numpy(made).permute(2, 0, 1)

    def _decoded(self, number: int) -> NDArray[np.uint8] | None:
        """Return one tile, rows x columns x channels; None for one that the file leaves empty."""
        page = self._page
        try:
            file = page.parent.filehandle
            file.seek(page.dataoffsets[number])
            data = file.read(page.databytecounts[number])
            more = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression == 7 else {}
            tile = page.decode(data, number, _fullsize=page.is_tiled, **more)[0] if data else None
        except Exception as error:  # Decoders have errors of every kind.
            raise ImageFileError(
                expected="a TIFF that can be read from end to end",
                path=self._path,
                reason=" ".join(str(error).split()) or type(error).__name__,
                remedy="It was damaged, or never whole.",
            ) from error
        return None if tile is None else np.asarray(tile[0], np.uint8)


def _common(wanted: Span, start: int, count: int) -> tuple[slice, slice]:
    """Return where what is wanted lies in a tile, and where that goes in the result."""
    first, last = max(wanted.start, start), min(wanted.end, start + count)
    return slice(first - start, last - start), slice(first - wanted.start, last - wanted.start)


@contextmanager
def open_windows(path: Path, channels: int, max_pixels: int | None = None) -> Iterator[Windows]:
    """Open an image to read parts of it: a TIFF in tiles or strips of 8-bit grey or RGB, or any that is decoded whole.

    Args:
        path: of the file.
        channels: 1, 3 or 4, as for `read_image`.
        max_pixels: an image of more is refused; by default, one of more than `MAX_PIXELS` that is decoded whole.

    Raises:
        ImageFileError: where it cannot be read.
    """
    with ExitStack() as stack:
        page = _first_page(path, stack)
        is_in_parts = page is not None and _comes_in_parts(page, channels)
        if is_in_parts and (max_pixels is None or page.imagelength * page.imagewidth <= max_pixels):
            yield TiffWindows(path, page)
        else:
            yield PictureWindows(read_image(path, channels, MAX_PIXELS if max_pixels is None else max_pixels))


def _first_page(path: Path, stack: ExitStack) -> Any:
    """Return the first page of a TIFF; None for other files, and for what `read_image` knows better to say is wrong."""
    try:
        with path.open("rb") as file:
            if file.read(4) not in TIFF_MARKS:
                return None
        from tifffile import TiffFile

        return stack.enter_context(TiffFile(path)).pages.first
    except Exception:
        return None


def _comes_in_parts(page: Any, channels: int) -> bool:
    orientation = page.tags.get("Orientation")
    return (
        page.dtype == np.uint8
        and page.bitspersample == 8
        and page.samplesperpixel == channels
        and page.photometric == (GREY if channels == 1 else RGB)
        and page.planarconfig == 1
        and page.imagedepth == 1
        and len(page.dataoffsets) > 1
        and (orientation is None or orientation.value == 1)
    )
