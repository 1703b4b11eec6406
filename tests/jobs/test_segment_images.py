"""Masks against the network run by torch on the whole image at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from segmenters import CLASSES, COLOURS, expect_same, logits_of, picture, write_segmenter
from striate import segment_images
from striate.costing.verify import watched
from striate.errors import BudgetError, StriateError, UsageError
from striate.jobs.masks import Segmented
from striate.jobs.predict import Skipped, predict
from striate.jobs.sweeps import Sweeping
from striate.reporting.masks import usual_colours
from striate.zoo import load_network

SIZE = (203, 331)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_segmenter(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(picture(SIZE)).save(path)
    return path


def write_tiff(path: Path, pixels: NDArray[np.uint8], **options: Any) -> Path:
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels, photometric=kind, tile=(64, 80), **options)
    return path


def segmented(run: Path, image: Path, output: Path, **options: Any) -> Segmented:
    *records, last = segment_images(run, image, output=output, **options)
    assert isinstance(last, Segmented)
    assert [record.done for record in records if isinstance(record, Sweeping)] == list(range(1, last.parts + 1))
    return last


def pixels_of(path: Path) -> NDArray[np.uint8]:
    if path.suffix == ".tif":
        read: NDArray[np.uint8] = tifffile.imread(path)
        return read
    with Image.open(path) as picture:
        assert picture.mode == "P"
        return np.array(picture)


def test_a_mask_is_the_most_probable_class_at_each_pixel(run: Path, photo: Path, tmp_path: Path) -> None:
    found = segmented(run, photo, tmp_path)
    assert (found.source, found.size, found.parts, found.peak) == (str(photo), SIZE, 1, None)
    assert (found.mask, found.overlay) == (tmp_path / "photo-mask.png", tmp_path / "photo-overlay.png")
    mask = pixels_of(found.mask)
    expect_same(mask, logits_of(run, picture(SIZE)))
    assert found.shares == {name: np.mean(mask == place) for place, name in enumerate(CLASSES)}
    assert np.array_equal(found.shown.classes, mask)
    assert found.shown.shares == tuple(found.shares.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo-mask.png", "photo-overlay.png"]


def test_masks_and_overlays_have_the_colours_of_their_classes(run: Path, photo: Path, tmp_path: Path) -> None:
    found = segmented(run, photo, tmp_path)
    mask = pixels_of(found.mask)
    painted = np.array(Image.open(found.mask).convert("RGB"))
    assert np.array_equal(painted, np.array(COLOURS, np.uint8)[mask])
    laid_over = np.array(Image.open(found.overlay)).astype(int)
    assert abs(laid_over - (picture(SIZE).astype(int) + painted) / 2).max() <= 0.5
    tiff = segmented(run, write_tiff(tmp_path / "photo.tif", picture(SIZE)), tmp_path / "tiff")
    assert np.array_equal(np.array(Image.open(tiff.mask).convert("RGB")), np.array(COLOURS, np.uint8)[mask])
    usual = segmented(write_segmenter(tmp_path / "usual", colours=()), photo, tmp_path / "usual")
    assert np.array_equal(
        np.array(Image.open(usual.mask).convert("RGB")), np.array(usual_colours(4), np.uint8)[pixels_of(usual.mask)]
    )


@pytest.mark.parametrize(
    ("channels", "memory", "parts"), [(3, "40MB", 1), (1, "24MB", 2), (3, "24MB", 2), (3, "22MB", 4), (3, "20MB", 12)]
)
def test_in_parts_a_mask_is_that_of_the_whole_image(tmp_path: Path, channels: int, memory: str, parts: int) -> None:
    run = write_segmenter(tmp_path / "run", channels=channels)
    pixels = picture((419, 517), channels)
    tiff = write_tiff(tmp_path / "photo.tif", pixels if channels == 3 else pixels[:, :, 0], compression="zlib")
    found = segmented(run, tiff, tmp_path, memory=memory)
    assert (found.mask.suffix, found.parts) == (".tif", parts)
    assert found.peak is not None
    assert found.peak <= float(memory.removesuffix("MB")) * 1e6
    mask = pixels_of(found.mask)
    expect_same(mask, logits_of(run, pixels))
    assert np.array_equal(found.shown.classes, mask)
    with tifffile.TiffFile(found.mask) as file:
        assert file.pages.first.is_tiled
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.PALETTE


@pytest.mark.parametrize(("model", "memory", "parts"), [("fcn8s", None, 1), ("deeplabv3", "80MB", 2)])
def test_networks_with_batch_norm_and_means_over_the_whole_map(
    tmp_path: Path, model: str, memory: str | None, parts: int
) -> None:
    run = write_segmenter(tmp_path / "run", "mobilenet_v2", model=model)
    pixels = picture((330, 290))
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    found = segmented(run, tmp_path / "photo.png", tmp_path, memory=memory)
    assert found.parts == parts
    expect_same(pixels_of(found.mask), logits_of(run, pixels))


@pytest.mark.parametrize("side", [101, 300])
def test_a_scaled_image_has_a_mask_of_its_own_size(run: Path, photo: Path, tmp_path: Path, side: int) -> None:
    found = segmented(run, photo, tmp_path, image_size=side, memory="40MB")
    width = round(SIZE[1] * side / SIZE[0])
    scaled = np.array(Image.open(photo).resize((width, side), Image.Resampling.BILINEAR))
    logits = logits_of(run, scaled)
    expect_same(found.shown.classes, logits)
    mask = pixels_of(found.mask)
    assert (mask.shape, found.size) == (SIZE, SIZE)
    assert np.array_equal(
        mask, np.array(Image.fromarray(found.shown.classes).resize(SIZE[::-1], Image.Resampling.NEAREST))
    )
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["ground"] == np.mean(mask == 0)


def test_an_image_that_is_too_small_for_the_network_is_scaled_up(run: Path, tmp_path: Path) -> None:
    Image.fromarray(picture((20, 31))).save(tmp_path / "small.png")
    found = segmented(run, tmp_path / "small.png", tmp_path)
    assert found.size == pixels_of(found.mask).shape == (20, 31)
    assert found.shown.classes.shape == (33, 51)  # Filled up to 64 x 64, of which AlexNet leaves something.


def test_a_large_image_is_shown_small(run: Path, tmp_path: Path) -> None:
    pixels = picture((90, 1100)).repeat(2, 1)
    found = segmented(run, write_tiff(tmp_path / "wide.tif", pixels), tmp_path, memory="30MB")
    mask = pixels_of(found.mask)
    assert mask.shape == (90, 2200)
    assert np.array_equal(found.shown.classes, mask[::3, ::3])
    overlay = np.array(Image.open(found.overlay)).astype(int)
    assert abs(overlay - (pixels[::3, ::3].astype(int) + np.array(COLOURS)[mask[::3, ::3]]) / 2).max() <= 0.5


def test_files_of_one_name_have_masks_of_their_own(run: Path, tmp_path: Path) -> None:
    for place, folder in enumerate(("a", "b", "c")):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture((64 + place, 64))).save(tmp_path / folder / "one 1.png")
    found = [
        record
        for record in segment_images(run, [tmp_path / name for name in "abc"], output=tmp_path / "masks")
        if isinstance(record, Segmented)
    ]
    assert [record.mask.name for record in found] == ["one_1-mask.png", "one_1-2-mask.png", "one_1-3-mask.png"]
    assert [pixels_of(record.mask).shape[0] for record in found] == [64, 65, 66]
    assert len({record.overlay for record in found}) == 3


def test_an_interrupted_image_leaves_nothing(run: Path, tmp_path: Path) -> None:
    records = segment_images(
        run, write_tiff(tmp_path / "photo.tif", picture((419, 517))), output=tmp_path / "masks", memory="24MB"
    )
    assert next(records) == Sweeping(1, 2)
    records.close()  # type: ignore[attr-defined]
    assert list((tmp_path / "masks").iterdir()) == []


def test_what_fails_while_it_is_written_leaves_what_was_there(
    run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = segmented(run, photo, tmp_path).mask.read_bytes()

    def interrupt(_: Image.Image, path: Path, **__: object) -> None:
        path.write_bytes(before[:100])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Image.Image, "save", interrupt)
        segmented(run, photo, tmp_path)
    assert (tmp_path / "photo-mask.png").read_bytes() == before

    def refuse(**_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StriateError, match="67,193 bytes .* No space left on device"):
        patch.setattr("striate.jobs.mask_files.TemporaryFile", refuse)
        segmented(run, photo, tmp_path)
    with pytest.raises(StriateError, match="Not a directory"):
        segmented(run, photo, photo / "masks")


def test_a_damaged_tile_is_named_or_passed_over(run: Path, photo: Path, tmp_path: Path) -> None:
    tiff = write_tiff(tmp_path / "bad.tif", picture(SIZE), compression="zlib")
    with tifffile.TiffFile(tiff) as file:
        start = file.pages.first.dataoffsets[-1]
    data = bytearray(tiff.read_bytes())
    data[start : start + 20] = bytes(20)
    tiff.write_bytes(data)
    with pytest.raises(UsageError, match="bad.tif: ") as refused:
        segmented(run, tiff, tmp_path / "masks")
    assert "--skip-bad" in refused.value.remedy
    records = segment_images(run, [tiff, photo], output=tmp_path / "masks", skip_bad=True)
    kinds = [type(record) for record in records if not isinstance(record, Sweeping)]
    assert kinds == [Skipped, Segmented]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["photo-mask.png", "photo-overlay.png"]


def test_how_many_pixels_are_too_many(run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiff = write_tiff(tmp_path / "photo.tif", picture(SIZE))
    monkeypatch.setattr("striate.jobs.sweeps.MAX_PIXELS", 60_000)
    monkeypatch.setattr("striate.data.windows.MAX_PIXELS", 60_000)
    for image, options in (
        (photo, {}),
        (photo, {"memory": "40MB"}),
        (tiff, {}),
        (tiff, {"memory": "40MB", "max_pixels": 60_000}),
    ):
        with pytest.raises(UsageError, match="331 x 203 = 67,193 pixels"):
            segmented(run, image, tmp_path, **options)
    assert segmented(run, tiff, tmp_path, memory="40MB").size == SIZE
    assert segmented(run, photo, tmp_path, max_pixels=70_000).size == SIZE


def test_bad_use_is_refused(run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(picture((33, 33))).save(tmp_path / "small.png")
    with pytest.raises(BudgetError, match=r"--memory of .* or more, even part by part; received 5.00 MB"):
        segmented(run, tmp_path / "small.png", tmp_path, memory="5MB")
    with pytest.raises(UsageError, match="fcn8s, which says a class for each pixel. .* writes masks"):
        next(predict(run, photo))
    monkeypatch.setattr("striate.results.UNKNOWN", 3)
    with pytest.raises(UsageError, match="3 classes or fewer.*received 4 classes of fcn8s"):
        segmented(run, photo, tmp_path)


def test_what_is_computed_stays_within_what_is_said(run: Path, tmp_path: Path) -> None:
    network, _ = load_network(run)
    tiff = write_tiff(tmp_path / "photo.tif", picture((419, 517)))
    records = segment_images(run, tiff, output=tmp_path, memory="22MB")
    next(records)  # To build the network takes more than it does.
    with watched(list(network.parameters())) as peak:
        *_, found = records
    assert isinstance(found, Segmented)
    assert found.peak is not None
    assert 0.5 * found.peak < peak.size <= found.peak <= 22_000_000
