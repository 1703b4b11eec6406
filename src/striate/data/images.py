"""Image files as pixels: what a file says of itself, and the part of it that a network sees."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from math import prod
from pathlib import Path
from threading import Lock
from typing import IO, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from striate.data.frames import Frame, Size, whole
from striate.data.names import MAX_PIXELS
from striate.data.preprocessing import Interpolation
from striate.errors import UsageError
from striate.files import spell
from striate.shapes import Span

SUFFIXES = frozenset(
    f".{name}"
    for names in ("jpg jpeg jpe jfif png gif bmp dib tif tiff webp", "ppm pgm pbm pnm jp2 j2k avif")
    for name in names.split()
)
# Others run programs (EPS), or have no mark, so that any bytes would do (TGA).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION, SAMPLES = 0x0112, 277
WHOLE, LONG = 1e-6, 8
TURNED = (5, 6, 7, 8)  # Orientations that exchange height and width.
COLOURS = {1: "L", 3: "RGB", 4: "RGBA"}
_LIMIT = Lock()
# What Pillow has to say of a file comes as our error; unless somebody listens, it is not said besides.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class ImageFileError(UsageError):
    """A file is not the image that it was taken for.

    Args:
        expected: of it.
        path: of the file, or its content.
        reason: what is wrong with it.
        remedy: what to do about it.
    """

    is_met_by_all = False

    def __init__(self, *, expected: str, path: Path | bytes, reason: str, remedy: str) -> None:
        name = "standard input" if isinstance(path, bytes) else spell(path)
        super().__init__(expected=expected, received=f"{name}: {reason}", remedy=remedy)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its image, before it is decoded.

    Args:
        format: as Pillow calls it.
        mode: as Pillow calls it; of a TIFF that only tifffile reads, such as ``5 x uint8``.
        size: (height, width), turned as the EXIF orientation says.
        channels: 1 for grey, 3 for colour, or as many as a TIFF has; transparency is not counted.
        animated: whether it has several frames.
    """

    format: str
    mode: str
    size: Size
    channels: int
    animated: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image, upright.

    Args:
        layers: one image, grey or of colour, with transparency or without; for other numbers of channels, a grey one
            for each.
    """

    layers: tuple[Image.Image, ...]

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.layers[0].height, self.layers[0].width

    def cut(
        self, frame: Frame, image_size: Size, interpolation: Interpolation | Literal["nearest"] = "bilinear"
    ) -> UInt8[Tensor, "C H W"]:
        """Return what lies in ``frame``, scaled to (height, width) as Pillow does it, antialiased."""
        scaled = [
            np.asarray(_scale(layer, frame, image_size, Image.Resampling[interpolation.upper()]))
            for layer in self.layers
        ]
        pixels = np.concatenate([array.reshape(*image_size, -1) for array in scaled], axis=2)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def pixels(self) -> UInt8[Tensor, "C H W"]:
        """Return all of it as it is."""
        return self.cut(whole(self.size), self.size)

    def colours(self) -> UInt8[np.ndarray, "H W 3"]:
        """Return red, green and blue, a grey one three times; of other channels the first three, or the first."""
        pixels = self.pixels()
        levels = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
        return levels.permute(1, 2, 0).contiguous().numpy()

    def scaled(self, size: Size, interpolation: Interpolation = "bilinear") -> "Picture":
        """Return it at another (height, width), as Pillow scales it, antialiased."""
        method = Image.Resampling[interpolation.upper()]
        return Picture(tuple(layer.resize((size[1], size[0]), method) for layer in self.layers))

    def window(self, rows: Span, columns: Span) -> UInt8[Tensor, "C h w"]:
        """Return a part of it as it is, copying nothing else."""
        box = (columns.start, rows.start, columns.end, rows.end)
        parts = [np.asarray(layer.crop(box)).reshape(rows.size, columns.size, -1) for layer in self.layers]
        return torch.from_numpy(np.concatenate(parts, axis=2)).permute(2, 0, 1)

    @property
    def held(self) -> int:
        """Bytes that Pillow keeps of it: four a pixel where there is colour."""
        return sum(layer.width * layer.height * (1 if layer.mode == "L" else 4) for layer in self.layers)

    def thumbnail(self, side: int = 128) -> UInt8[np.ndarray, "h w c"]:
        """Return it for people to look at: of ``side`` pixels at most, grey or the first three channels."""
        scale = min(side / max(self.size), 1)
        small = (max(round(self.size[0] * scale), 1), max(round(self.size[1] * scale), 1))
        return visible(self.cut(whole(self.size), small))


def _scale(layer: Image.Image, frame: Frame, image_size: Size, method: Image.Resampling) -> Image.Image:
    (height, width), (down, across) = image_size, (image_size[0] / frame.height, image_size[1] / frame.width)
    whole_size, corner = (layer.width * across, layer.height * down), (frame.left * across, frame.top * down)
    # Pillow rounds between rows and columns, and which of them come first depends on the rectangle. Where others would
    # scale the whole and cut it, so do we, to the same levels; unless it is so long that most would be for nothing.
    is_cut = all(abs(side - round(side)) < WHOLE for side in (*whole_size, *corner))
    if is_cut and prod(whole_size) <= LONG * height * width:
        left, top = map(round, corner)
        whole_image = layer.resize((round(whole_size[0]), round(whole_size[1])), method)
        return whole_image.crop((left, top, left + width, top + height))
    box = (
        *(max(frame.left, 0), max(frame.top, 0)),
        *(min(frame.left + frame.width, layer.width), min(frame.top + frame.height, layer.height)),
    )
    return layer.resize((width, height), method, box=box)


def visible(pixels: UInt8[Tensor, "C h w"]) -> UInt8[np.ndarray, "h w c"]:
    """Return pixels for people to look at: the first three channels, or the one that there is."""
    return pixels[: 3 if len(pixels) >= 3 else 1].permute(1, 2, 0).contiguous().numpy()


def picture_of(pixels: UInt8[Tensor, "C H W"]) -> Picture:
    """Return pixels as a picture."""
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    if array.shape[2] == 3:
        return Picture((Image.fromarray(array),))
    return Picture(tuple(Image.fromarray(np.ascontiguousarray(array[:, :, place])) for place in range(array.shape[2])))


def read_header(path: Path | bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Return what a file, or its content, says of its image, without decoding it.

    Raises:
        ImageFileError: where there is no image, or one of more than ``max_pixels``.
    """
    with opened(path, max_pixels) as image:
        size = (image.height, image.width)
        if isinstance(image, Tiff):
            return Header("TIFF", f"{image.channels} x {image.dtype}", size, image.channels)
        # Of a PNG all pixels would be decoded, to look behind them; the size of a TIFF is that of the upright image.
        knows = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        turned = knows and image.getexif().get(ORIENTATION) in TURNED
        animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        return Header(str(image.format), image.mode, size[::-1] if turned else size, _channels(image), animated)


def read_image(path: Path | bytes, channels: int, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode one image file, turned as its EXIF orientation says; of several frames, the first.

    Args:
        path: of a file of any of ``FORMATS``, recognised by its content; or that content.
        channels: 1 for grey, 3 for colour, 4 for colour with transparency: the image is converted, and what is
            transparent becomes white where that is dropped. For other numbers the file has to have as many. 16 bits a
            grey level become 8: their value over 257; of colours Pillow keeps the upper 8.
        max_pixels: an image of more is refused before it is decoded.

    Raises:
        ImageFileError: where there is no image, it is cut short or too large, or has other channels.
    """
    with opened(path, max_pixels) as image:
        if isinstance(image, Tiff):
            if image.channels == channels:
                return picture_of(torch.from_numpy(image.read()).permute(2, 0, 1))
        elif channels in COLOURS:
            return Picture((_convert(ImageOps.exif_transpose(image), channels),))
        have = image.channels if isinstance(image, Tiff) else _channels(image)
        raise ValueError(f"{have} channels, where the network takes {channels}")


@contextmanager
def opened(path: Path | bytes, max_pixels: int, *, of_levels: bool = True) -> "Iterator[Image.Image | Tiff]":
    """Open an image, and say in one way whatever is wrong with it: decoders have errors of every kind.

    Args:
        path: of the file, or its content.
        max_pixels: an image of more is refused.
        of_levels: between black and white, so that those of 32 bits are refused: nobody knows what is white.
    """
    try:
        stream = BytesIO(path) if isinstance(path, bytes) else path.open("rb")
        with warnings.catch_warnings(action="ignore"), stream, _open(stream) as image:
            pixels = image.height * image.width
            layers = image.channels if isinstance(image, Tiff) else 1
            if pixels * max(layers / 3, 1) > max_pixels:
                many = f" of {layers} channels" if layers > 3 else ""
                raise _TooLargeError(f"{image.width:,} x {image.height:,} = {pixels:,} pixels{many}")
            is_wide = isinstance(image, Image.Image) and (
                image.mode == "F" or (image.mode, image.format) == ("I", "TIFF")
            )
            if of_levels and is_wide:
                raise ValueError("levels of 32 bits, whose black and white are not known")
            yield image
    except _TooLargeError as error:
        raise ImageFileError(
            expected=f"an image of {max_pixels:,} pixels or fewer",
            path=path,
            reason=str(error),
            remedy="It was not decoded. Scale it down, or allow it with --max-pixels.",
        ) from error
    except Exception as error:
        unknown = isinstance(error, UnidentifiedImageError)
        raise ImageFileError(
            expected="an image file",
            path=path,
            reason="no image that can be read" if unknown else _reason(error),
            remedy="Give a whole JPEG, PNG, GIF, BMP, TIFF, WebP, JPEG 2000, AVIF or PPM.",
        ) from error


class _TooLargeError(Exception):
    pass


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _open(stream: BufferedIOBase) -> "Image.Image | Tiff":
    # Pillow's own limit of pixels cannot be said file by file.
    with _LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(cast(IO[bytes], stream), formats=FORMATS)
        except UnidentifiedImageError:
            stream.seek(0)
            mark = stream.read(4)
            if not mark:
                raise ValueError("an empty file") from None
            if mark not in TIFF_MARKS:
                raise
            stream.seek(0)
            return Tiff(stream)
        finally:
            Image.MAX_IMAGE_PIXELS = before
    if isinstance(image, TiffImageFile) and image.tag_v2.get(SAMPLES, 1) > len(image.getbands()):
        stream.seek(0)
        return Tiff(stream)  # Of the others, Pillow would say nothing.
    return image


class Tiff:
    """The first page of a TIFF with numbers of channels that Pillow does not know."""

    def __init__(self, stream: BufferedIOBase) -> None:
        from tifffile import TiffFile

        self._file = TiffFile(cast(IO[bytes], stream))
        page = self._file.pages.first
        shape = dict(zip(page.axes, page.shape, strict=True))
        self.height, self.width, self.channels = shape["Y"], shape["X"], shape.get("S", 1)
        self.dtype = str(page.dtype)
        self._place = page.axes.find("S")

    def read(self) -> NDArray[np.uint8]:
        """Return rows x columns x channels."""
        array = self.read_as_is()
        return _to_bytes(array[..., None] if array.ndim == 2 else array)

    def read_as_is(self) -> NDArray[Any]:
        """Return rows x columns, or rows x columns x channels, of the type that they have in the file."""
        array: NDArray[Any] = self._file.pages.first.asarray()
        return array if self._place < 0 else np.moveaxis(array, self._place, -1)

    def __enter__(self) -> "Tiff":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()


def _to_bytes(levels: NDArray[Any]) -> NDArray[np.uint8]:
    if levels.dtype == np.uint8:
        return np.ascontiguousarray(levels)
    if levels.dtype.kind == "u" and levels.dtype.itemsize == 2:
        return (levels / 257).round().astype(np.uint8)
    raise ValueError(f"levels of type {levels.dtype}, whose black and white are not known")


def _channels(image: Image.Image) -> int:
    return 1 if image.mode in ("1", "L", "LA", "La", "I") or image.mode.startswith("I;16") else 3


def _convert(image: Image.Image, channels: int) -> Image.Image:
    if image.mode == "I":  # Of a PNM, whose levels Pillow spreads from 0 to 65,535.
        image = Image.fromarray(_to_bytes(np.asarray(image).clip(0, 65535).astype(np.uint16)))
    elif image.mode.startswith("I;16"):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    if channels < 4 and image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(COLOURS[channels])
