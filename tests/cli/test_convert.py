"""A classifier that answers at every place: converted, and asked where classes are in images larger than its own."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from conftest import Done
from photographs import COLOURS, draw, write_folder
from striate import map_classes
from striate.costing.verify import watched
from striate.errors import BudgetError, UsageError
from striate.files import load_tensors
from striate.jobs.maps import Mapped
from striate.jobs.sweeps import Sweeping
from striate.jobs.train import train
from striate.training.config import TrainConfig
from striate.weights import read_weights_config
from striate.zoo import load_network

Program = Callable[..., Done]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 that tells three colours, on pictures of 24 x 24."""
    root = tmp_path_factory.mktemp("colours")
    data = write_folder(root / "data", {"train": 12, "val": 4, "test": 4})
    asked = {"model": "lenet5", "image_size": 24, "epochs": 8, "opt": "adam", "lr": 0.01, "batch_size": 12}
    for _ in train(TrainConfig.model_validate({"data": str(data), "output": str(root / "run"), **asked})):
        pass
    return root / "run"


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Green, with a square of red in rows 40 to 79 and columns 80 to 119."""
    pixels = np.asarray(draw(COLOURS["green"], 0, (100, 140))).copy()
    pixels[40:80, 80:120] = np.asarray(draw(COLOURS["red"], 1, (40, 40)))
    path = tmp_path_factory.mktemp("sheet") / "sheet.png"
    Image.fromarray(pixels).save(path)
    return path


def mapped(run: Path, image: Path, **options: Any) -> Mapped:
    *_, last = map_classes(run, image, **options)
    assert isinstance(last, Mapped)
    return last


def test_the_converted_network_says_how_far_it_is_from_the_classifier(run: Path, program: Program) -> None:
    done = program("convert", str(run), "--fully-convolutional", "--stride", "2", "--html", "page.html", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["window"], found["stride"], found["padded"], found["whole"]) == ([24, 24], [8, 8], [], [])
    assert found["difference"] < 1e-5
    assert found["slid"]["furthest"] < 1e-5
    assert (found["slid"]["windows"], found["slid"]["same"]) == (
        4 * 16,
        1.0,
    )  # 4 x 4 windows of four images of 48 x 48.
    assert "<td>left out</td>" in Path("page.html").read_text()
    folder = Path(found["folder"])
    assert read_weights_config(folder).fully_convolutional == 2
    assert load_tensors(folder / "model.safetensors")["classifier.c5.weight"].shape == (120, 16, 3, 3)
    ours, _ = load_network(folder)
    theirs, _ = load_network(run)
    image = torch.randn(1, 3, 24, 24)
    assert torch.equal(ours(image), theirs(image))
    page = (Path.cwd() / "page.html").read_text()
    assert "classifier.c5" in page
    assert "No layer pads its maps" in page


def test_paints_where_a_class_is(run: Path, sheet: Path, program: Program) -> None:
    done = program("predict", str(run), str(sheet), "--heatmap", "red", "-o", "painted", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["predictions"]
    assert (found["image_size"], found["places"]) == ([100, 140], [20, 30])  # Four pixels apart.
    (strongest,) = found["strongest"]
    left, top, right, bottom = strongest["xyxy"]
    assert strongest["probability"] > 0.9
    assert (right - left, bottom - top) == (24, 24)
    assert 40 <= top + 12 < 80
    assert 80 <= left + 12 < 120
    assert found["mean"][0]["class"] == "green"
    painted = np.asarray(Image.open(Path.cwd() / "painted" / "sheet-red.png"), dtype=float)
    assert painted.shape == (100, 140, 3)
    assert painted[55:65, 95:105].mean() > 2 * painted[:20, :60].mean()


def test_each_place_is_the_classifier_on_its_window(run: Path, sheet: Path) -> None:
    network, config = load_network(run)
    found = mapped(run, sheet).result
    pixels = torch.from_numpy(np.array(Image.open(sheet))).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.preprocessing.mean, config.preprocessing.std))
    for row, column in ((0, 0), (3, 7), (19, 29)):
        window = (pixels[:, 4 * row : 4 * row + 24, 4 * column : 4 * column + 24] - mean) / std
        with torch.inference_mode():
            expected = network(window.unsqueeze(0)).softmax(1)[0]
        np.testing.assert_allclose(found.probabilities[:, row, column], expected.numpy(), atol=1e-5)


def test_a_tiled_tiff_in_parts_gives_what_the_whole_picture_gives(run: Path, sheet: Path, tmp_path: Path) -> None:
    whole = mapped(run, sheet)
    assert (whole.parts, whole.peak) == (1, None)
    tiff = tmp_path / "sheet.tif"
    tifffile.imwrite(tiff, np.asarray(Image.open(sheet)), tile=(32, 48), photometric="rgb", compression="zlib")
    *records, divided = map_classes(run, tiff, memory="400kB")
    assert isinstance(divided, Mapped)
    assert divided.parts > 3
    assert divided.peak is not None
    assert divided.peak <= 400_000
    assert [record.done for record in records if isinstance(record, Sweeping)] == list(range(1, divided.parts + 1))
    np.testing.assert_allclose(divided.result.probabilities, whole.result.probabilities, atol=1e-5)
    assert np.array_equal(divided.image, whole.image)


def test_an_image_smaller_than_the_window_is_scaled_up(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    draw(COLOURS["blue"], 3, (8, 12)).save(path)
    found = mapped(run, path).result
    assert (found.image_size, found.overall.name) == ((24, 36), "blue")


def test_the_shorter_side_is_scaled_where_that_is_asked_for(run: Path, sheet: Path) -> None:
    assert mapped(run, sheet, image_size=50).result.image_size == (50, 70)


def test_too_small_a_budget_is_refused_with_what_it_takes(run: Path, sheet: Path) -> None:
    with pytest.raises(BudgetError, match=r"--memory of .* or more, even part by part; received 40.00 kB"):
        mapped(run, sheet, memory="40kB")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "{run}", "{sheet}", "--heatmap", "rot"], "--heatmap as one of the network's classes"),
        (["predict", "{run}", "{sheet}", "--memory", "1MB"], "--memory with --heatmap CLASS"),
        (["predict", "{run}", "{sheet}", "--heatmap", "red", "--draw"], "--json, or none"),
        (["convert", "{run}"], "--fully-convolutional"),
        (["convert", "{run}", "--fully-convolutional", "nowhere.png"], "'nowhere.png', which is none of these"),
    ],
)
def test_bad_use_is_refused(run: Path, sheet: Path, program: Program, words: list[str], said: str) -> None:
    done = program(*(word.format(run=run, sheet=sheet) for word in words))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_tile_is_named_with_its_file(run: Path, sheet: Path, tmp_path: Path, program: Program) -> None:
    tiff = tmp_path / "sheet.tif"
    tifffile.imwrite(tiff, np.asarray(Image.open(sheet)), tile=(32, 48), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(tiff) as file:
        start = file.pages.first.dataoffsets[5]
    data = bytearray(tiff.read_bytes())
    data[start : start + 20] = bytes(20)
    tiff.write_bytes(data)
    done = program("predict", str(run), str(tiff), "--heatmap", "red")
    assert done.returncode == 2
    assert "sheet.tif" in done.stderr
    done = program("predict", str(run), str(tiff), str(sheet), "--heatmap", "red", "--skip-bad")
    assert done.returncode == 0
    assert "1 passed over" in done.stderr


def test_a_tiff_of_any_size_is_read_where_there_is_a_budget(
    run: Path, sheet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiff = tmp_path / "sheet.tif"
    tifffile.imwrite(tiff, np.asarray(Image.open(sheet)), tile=(32, 48), photometric="rgb")
    assert mapped(run, tiff, memory="10MB").result.image_size == (100, 140)
    with pytest.raises(UsageError, match="sheet.tif: 140 x 100 = 14,000 pixels"):
        mapped(run, tiff, memory="10MB", max_pixels=1000)


def test_files_of_one_name_are_painted_one_by_one(run: Path, sheet: Path, tmp_path: Path, program: Program) -> None:
    other = tmp_path / "other" / "sheet.png"
    other.parent.mkdir()
    other.write_bytes(sheet.read_bytes())
    done = program("predict", str(run), str(sheet), str(other), "--heatmap", "red", "--json")
    assert done.returncode == 0, done.stderr
    paths = [each["heatmap"] for each in json.loads(done.stdout)["predictions"]]
    assert paths == ["heatmaps/sheet-red.png", "heatmaps/sheet-red-2.png"]
    assert all((Path.cwd() / path).is_file() for path in paths)


def test_what_is_computed_stays_within_what_is_said(run: Path, sheet: Path, tmp_path: Path) -> None:
    tiff = tmp_path / "sheet.tif"
    tifffile.imwrite(tiff, np.asarray(Image.open(sheet)), tile=(32, 48), photometric="rgb")
    mapped(run, tiff, memory="500kB")  # What torch makes only once is there then.
    gc.collect()
    gc.disable()  # When it comes by itself is chance.
    try:
        with watched([]) as peak:
            found = mapped(run, tiff, memory="500kB")
    finally:
        gc.enable()
    assert found.peak is not None
    assert 0.5 * found.peak < peak.size <= found.peak <= 500_000
