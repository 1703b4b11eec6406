from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from striate.data.windows import PictureWindows, TiffWindows, open_windows
from striate.errors import UsageError
from striate.shapes import Span

PIXELS = np.random.default_rng(0).integers(0, 256, (70, 91, 3), dtype=np.uint8)


def write(path: Path, pixels: NDArray[np.uint8], **options: Any) -> Path:
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels, photometric=kind, **options)
    return path


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (PIXELS, {"tile": (16, 32)}),
        (PIXELS, {"tile": (32, 16), "compression": "zlib"}),
        (PIXELS[:, :, 0], {"tile": (16, 16)}),
        (PIXELS, {"rowsperstrip": 9}),
        (PIXELS, {"rowsperstrip": 32, "compression": "zlib", "bigtiff": True}),
    ],
)
def test_a_tiff_is_read_part_by_part(tmp_path: Path, pixels: NDArray[np.uint8], options: dict[str, Any]) -> None:
    path = write(tmp_path / "image.tif", pixels, **options)
    with open_windows(path, 1 if pixels.ndim == 2 else 3) as windows:
        assert isinstance(windows, TiffWindows)
        tile = options.get("tile") or (options["rowsperstrip"], 91)
        assert (windows.size, windows.held) == ((70, 91), 2 * int(np.prod(tile)) * (1 if pixels.ndim == 2 else 3))
        cuts = ((0, 70, 0, 91), (5, 6, 90, 91), (15, 33, 31, 65), (64, 70, 80, 91), (16, 32, 32, 64))
        for top, bottom, left, right in cuts:
            found = windows.read(Span(top, bottom), Span(left, right)).permute(1, 2, 0).numpy()
            assert np.array_equal(found, pixels[top:bottom, left:right].reshape(*found.shape))


@settings(max_examples=30)
@given(st.tuples(st.integers(0, 69), st.integers(1, 40), st.integers(0, 90), st.integers(1, 50)))
def test_any_part_is_that_part(tmp_path_factory: pytest.TempPathFactory, cut: tuple[int, int, int, int]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tif"
    if not path.exists():
        write(path, PIXELS, tile=(16, 16))
    rows, columns = Span(cut[0], min(cut[0] + cut[1], 70)), Span(cut[2], min(cut[2] + cut[3], 91))
    with open_windows(path, 3) as windows:
        found = windows.read(rows, columns).permute(1, 2, 0).numpy()
    assert np.array_equal(found, PIXELS[rows.start : rows.end, columns.start : columns.end])


def test_other_images_are_decoded_whole(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    write(tmp_path / "one.tif", PIXELS, rowsperstrip=70)  # In one piece.
    write(tmp_path / "deep.tif", PIXELS[:, :, 0].astype(np.uint16) * 257, tile=(16, 16))  # type: ignore[arg-type]
    for name in ("a.png", "one.tif", "deep.tif"):
        channels = 1 if name == "deep.tif" else 3
        with open_windows(tmp_path / name, channels, max_pixels=10_000) as windows:
            assert isinstance(windows, PictureWindows)
            assert windows.held == 70 * 91 * (4 if channels == 3 else 1)  # As Pillow has it.
            found = windows.read(Span(3, 9), Span(10, 40)).permute(1, 2, 0).numpy()
        assert np.array_equal(found, PIXELS[3:9, 10:40, :channels])


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.tif").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(UsageError, match="bad.tif"), open_windows(tmp_path / "bad.tif", 3, 1000):
        pass
    Image.fromarray(PIXELS).save(tmp_path / "large.png")
    write(tmp_path / "tiled.tif", PIXELS, tile=(16, 16))
    tiled = pytest.raises(UsageError, match="tiled.tif: 91 x 70 = 6,370 pixels")
    with tiled, open_windows(tmp_path / "tiled.tif", 3, 1000):
        pass
    large = pytest.raises(UsageError, match="large.png: 91 x 70 = 6,370 pixels")
    with large, open_windows(tmp_path / "large.png", 3, 1000):
        pass
