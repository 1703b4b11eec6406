from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.data.images import read_image
from striate.errors import UsageError

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14


def test_reads_colour_as_it_is_and_grey_by_luminance(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 3)[0].permute(1, 2, 0), PIXELS)
    grey = PIXELS @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert abs(read_image(tmp_path / "a.png", 1)[0, 0].numpy() - grey).max() <= 1


def test_turns_images_as_their_exif_orientation_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned: show it rotated by 90 degrees, clockwise
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 3)[0].permute(1, 2, 0), np.rot90(PIXELS, -1))


def test_images_of_more_than_8_bits_are_refused_rather_than_cut(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 4000]], np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="more than 8 bits a channel"):
        read_image(tmp_path / "a.png", 1)


@pytest.mark.parametrize("content", [None, b"", b"just text", b"\x89PNG\r\n\x1a\n\0\0"])
def test_what_is_no_image_is_refused_with_its_path(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"expected an image file; received .*a\.png"):
        read_image(path, 3)
