"""Masks from the command line, and what a network that says a class for each pixel is not for."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile
import torch
from onnxruntime import InferenceSession
from PIL import Image

from conftest import Done
from segmenters import CLASSES, COLOURS, expect_same, logits_of, picture, write_segmenter

Program = Callable[..., Done]
SIZE = (203, 331)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_segmenter(tmp_path_factory.mktemp("run"))


@pytest.fixture
def photo(tmp_path: Path) -> str:
    Image.fromarray(picture(SIZE)).save(tmp_path / "photo.png")
    return "photo.png"


def test_predict_writes_masks_and_says_what_is_in_them(run: Path, photo: str, program: Program) -> None:
    done = program("predict", str(run), photo, "--top", "2")
    assert done.returncode == 0, done.stderr
    mask = np.array(Image.open("masks/photo-mask.png"))
    expect_same(mask, logits_of(run, picture(SIZE)))
    (first, share), (second, other) = sorted(
        ((name, np.mean(mask == place)) for place, name in enumerate(CLASSES)), key=lambda each: -each[1]
    )[:2]
    assert done.stdout.splitlines() == [
        f"photo.png  203x331 pixels: {first} {share:.2%}  {second} {other:.2%}",
        "  mask: masks/photo-mask.png, over the image: masks/photo-overlay.png",
    ]


@pytest.mark.parametrize("as_lines", [False, True])
def test_predict_prints_documents(run: Path, photo: str, program: Program, as_lines: bool) -> None:
    tifffile.imwrite("photo.tif", picture(SIZE), tile=(64, 80), photometric="rgb")
    Path("bad.png").write_bytes(b"no image")
    options = ("--memory", "20MB", "-o", "out", "--skip-bad", "--jsonl" if as_lines else "--json")
    done = program("predict", str(run), photo, "bad.png", "photo.tif", *options)
    assert done.returncode == 0, done.stderr
    assert "1 passed over" in done.stderr
    if as_lines:
        found = [json.loads(line) for line in done.stdout.splitlines()]
    else:
        document = json.loads(done.stdout)
        found = document["predictions"]
        assert (document["run"], document["skipped"]) == (str(run), 1)
    assert [(each["source"], each["mask"], each["overlay"]) for each in found] == [
        ("photo.png", "out/photo-mask.png", "out/photo-overlay.png"),
        ("photo.tif", "out/photo-2-mask.tif", "out/photo-2-overlay.png"),
    ]
    mask = np.array(Image.open("out/photo-mask.png"))
    assert np.array_equal(mask, tifffile.imread("out/photo-2-mask.tif"))
    for each in found:
        assert each["shares"] == {name: np.mean(mask == place) for place, name in enumerate(CLASSES)}
        assert each["image_size"] == list(SIZE)
        assert 0 < each["predicted_peak_bytes"] <= 20_000_000
        assert each["parts"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "{run}", "photo.png", "--heatmap", "water"], "fcn8s, which says a class for each pixel"),
        (["predict", "{run}", "photo.png", "--draw"], "where each pixel has its own answer"),
        (["predict", "{run}", "nowhere.png"], "'nowhere.png', which is none of these"),
        (["predict", "{run}", "photo.png", "--memory", "much"], "a number of bytes"),
        (["convert", "{run}", "photo.png", "--fully-convolutional"], "fcn8s, which says a class for each pixel"),
    ],
)
def test_bad_use_is_refused(run: Path, photo: str, program: Program, words: list[str], said: str) -> None:
    done = program(*(word.format(run=run) for word in words))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("masks").exists()


@pytest.mark.parametrize("colours", [COLOURS, ()])
def test_export_writes_logits_of_each_pixel(
    tmp_path: Path, photo: str, program: Program, colours: tuple[tuple[int, int, int], ...]
) -> None:
    run = write_segmenter(tmp_path / "run", colours=colours)
    done = program("export", str(run), photo, "--json")
    assert done.returncode == 0, done.stderr
    path = json.loads(done.stdout)["path"]
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert (metadata["task"], json.loads(metadata["classes"])) == ("segment", list(CLASSES))
    assert json.loads(metadata["colours"])[1] == ([20, 60, 200] if colours else [128, 0, 0])
    pixels = np.stack([picture((64, 64)), picture((64, 64))[::-1]])
    given = json.loads(metadata["preprocessing"])
    images = ((pixels / 255 - given["mean"]) / given["std"]).transpose(0, 3, 1, 2).astype(np.float32)
    (logits,) = InferenceSession(path, providers=["CPUExecutionProvider"]).run(["logits"], {"images": images})
    for found, image in zip(logits, pixels, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), logits_of(run, image.copy()), rtol=1e-3, atol=1e-2)
