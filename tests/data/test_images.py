import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from striate.data.frames import Frame, whole
from striate.data.images import ImageFileError, picture_of, read_header, read_image

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14


def read(path: Path, channels: int) -> Any:
    """Return rows x columns x channels."""
    return read_image(path, channels).pixels().permute(1, 2, 0).numpy()


def test_reads_colour_as_it_is_and_grey_by_luminance(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png", 3), PIXELS)
    grey = PIXELS @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert abs(read(tmp_path / "a.png", 1)[:, :, 0] - grey).max() <= 1


def test_turns_images_as_their_exif_orientation_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned: show it rotated by 90 degrees, clockwise
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png", 3), np.rot90(PIXELS, -1))
    assert read_header(tmp_path / "a.png").size == (3, 2)


def test_sixteen_bits_become_eight_by_their_value(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 65535, 32896]], np.uint16)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png", 1).flatten().tolist() == [0, 1, 255, 128]
    assert read(tmp_path / "a.png", 3)[0, 3].tolist() == [128, 128, 128]
    assert read_header(tmp_path / "a.png").channels == 1


def test_numbers_whose_black_and_white_nobody_knows_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5]], np.float32)).save(tmp_path / "a.tif")
    for reader in (read_header, lambda path: read_image(path, 1)):
        with pytest.raises(ImageFileError, match="levels of 32 bits, whose black and white are not known"):
            reader(tmp_path / "a.tif")


def test_what_is_transparent_is_white_on_paper(tmp_path: Path) -> None:
    pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png", 3)[0].tolist() == [[200, 0, 0], [255, 255, 255], [204, 204, 204]]
    assert read(tmp_path / "a.png", 4)[0].tolist() == pixels[0].tolist()
    assert read_header(tmp_path / "a.png").channels == 3  # Transparency is there for who asks for it.
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=1)
    assert read(tmp_path / "p.png", 3)[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_cmyk_and_animated_images_are_read_as_viewers_show_them(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = read(tmp_path / "a.jpg", 3)[0, 0].tolist()
    assert red > 200 > 60 > max(green, blue)
    first, second = Image.new("L", (4, 4), 30), Image.new("L", (4, 4), 200)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert read_header(tmp_path / "a.gif").animated
    assert read(tmp_path / "a.gif", 1).flatten().tolist() == [30] * 16


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiffs_of_many_channels_are_read_with_all_of_them(tmp_path: Path, planar: Any) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (6, 5, 7), dtype=np.uint8)
    stored = levels if planar == "contig" else levels.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, planarconfig=planar, photometric="minisblack", metadata=None)
    header = read_header(tmp_path / "a.tif")
    assert (header.size, header.channels, header.mode) == ((6, 5), 7, "7 x uint8")
    np.testing.assert_array_equal(read(tmp_path / "a.tif", 7), levels)
    half = read_image(tmp_path / "a.tif", 7).cut(Frame(0.0, 0.0, 4.0, 4.0), (2, 2))
    for channel in range(7):
        alone = picture_of(torch.from_numpy(levels[:, :, channel])[None]).cut(Frame(0.0, 0.0, 4.0, 4.0), (2, 2))
        assert torch.equal(half[channel], alone[0])
    with pytest.raises(ImageFileError, match="7 channels, where the network takes 3"):
        read_image(tmp_path / "a.tif", 3)


def test_bands_of_a_tiff_are_no_transparency_and_none_is_lost(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    levels[:, :, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", levels, planarconfig="contig", photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(read(tmp_path / "a.tif", 4), levels)
    small = read_image(tmp_path / "a.tif", 4).cut(whole((6, 5)), (1, 1)).flatten()
    assert abs(small.numpy() - levels.mean((0, 1))).max() < 8
    for count in (4, 5, 6):
        bands = np.random.default_rng(1).integers(0, 256, (6, 5, count), dtype=np.uint8)
        extra = ["unspecified"] * (count - 3)
        tifffile.imwrite(tmp_path / "b.tif", bands, photometric="rgb", extrasamples=extra, metadata=None)
        assert read_header(tmp_path / "b.tif").channels == count
        np.testing.assert_array_equal(read(tmp_path / "b.tif", count), bands)


def test_many_bands_count_towards_the_limit(tmp_path: Path) -> None:
    levels = np.zeros((100, 100, 60), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", levels, photometric="minisblack", planarconfig="contig", metadata=None)
    with pytest.raises(ImageFileError, match="10,000 pixels of 60 channels"):
        read_header(tmp_path / "a.tif", 20_000)
    assert read_header(tmp_path / "a.tif", 200_000).channels == 60


def test_pgms_of_16_bits_and_turned_tiffs(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 32896, 65535))
    assert read(tmp_path / "a.pgm", 1).flatten().tolist() == [0, 128, 255]
    assert read_header(tmp_path / "a.pgm").channels == 1
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.tif", exif=exif)
    assert read_header(tmp_path / "a.tif").size == read_image(tmp_path / "a.tif", 3).size == (3, 2)


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises more than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_it_is_decoded_and_the_flag_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(20_000, 20_000))
    with pytest.raises(ImageFileError, match=r"400,000,000 pixels\. It was not decoded.*--max-pixels"):
        read_image(tmp_path / "a.png", 1)
    with pytest.raises(ImageFileError, match="400,000,000 pixels"):
        read_header(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png", 400_000_000).size == (20_000, 20_000)
    Image.fromarray(PIXELS).save(tmp_path / "b.png")
    with pytest.raises(ImageFileError, match="an image of 5 pixels or fewer"):
        read_image(tmp_path / "b.png", 1, 5)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485  # Pillow's own limit is others' concern.


@pytest.mark.parametrize("content", [None, b"", b"just text", b"\x89PNG\r\n\x1a\n\0\0", b"%!PS-Adobe-3.0 EPSF-3.0"])
def test_what_is_no_image_is_refused_with_its_path(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageFileError, match=r"expected an image file; received .*a\.png"):
        read_image(path, 3)


def test_an_image_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "jpeg")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue()[:-800])
    with pytest.raises(ImageFileError, match="truncated"):
        read_image(tmp_path / "a.jpg", 3)
    assert read_image(buffer.getvalue(), 3).size == (64, 64)
    with pytest.raises(ImageFileError, match="standard input: "):
        read_image(buffer.getvalue()[:-800], 3)


def test_cutting_is_pils_resizing_of_a_box() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    picture = picture_of(torch.from_numpy(pixels).permute(2, 0, 1))
    ours = picture.cut(Frame(3.5, 10.25, 20.0, 31.5), (9, 11), "bicubic").permute(1, 2, 0).numpy()
    pil = Image.fromarray(pixels).resize((11, 9), Image.Resampling.BICUBIC, box=(10.25, 3.5, 41.75, 23.5))
    np.testing.assert_array_equal(ours, np.asarray(pil))
    assert torch.equal(picture.cut(whole((40, 50)), (40, 50)).permute(1, 2, 0), torch.from_numpy(pixels))
    assert picture.thumbnail(20).shape == (16, 20, 3)


def test_an_error_comes_out_of_another_process_as_it_is() -> None:
    error = ImageFileError(expected="an image", path=Path("a.png"), reason="cut short", remedy="Mend it.")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.reason) == (ImageFileError, str(error), "cut short")
