"""A folder of pictures from one end to the other: checked, trained, judged, predicted, exported; and bad ones."""

import io
import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from PIL import Image

from conftest import Done, without_rights
from photographs import COLOURS, draw, write_class, write_folder
from striate.files import load_tensors, save_tensors
from striate.jobs.train import train
from striate.training.config import TrainConfig
from striate.training.records import StepRecord

Program = Callable[..., Done]
SMALL = ("--model", "mlp", "--image-size", "8", "--model-kwargs", "hidden_sizes=[16]", "--opt", "adam", "--lr", "0.01")


def document(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `data` in three parts, and a run on it."""
    root = tmp_path_factory.mktemp("photographs")
    write_folder(root / "data", {"train": 20, "val": 6, "test": 4})
    config = TrainConfig(
        data=str(root / "data"),
        model="mlp",
        image_size=(8, 8),
        model_kwargs={"hidden_sizes": [16]},
        opt="adam",
        lr=0.01,
        epochs=6,
        batch_size=8,
        crop_scale=0.5,
        hflip=0.5,
        color_jitter=0.2,
        output=str(root / "run"),
    )
    list(train(config))
    return root


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """An empty folder with that data and that run in it."""
    (tmp_path / "data").symlink_to(trained / "data")
    (tmp_path / "run").symlink_to(trained / "run")
    return tmp_path


def test_check_prints_counts_sizes_and_nothing_to_mend(program: Program, place: Path) -> None:
    done = program("check", "data", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    assert "nothing to mend" in done.stdout
    assert "height: 20 to 26" in done.stdout
    assert "format: PNG 90" in done.stdout
    page = (place / "page.html").read_text()
    assert page.count("<img") == 3 * (12 + 6 + 4)  # Twelve of twenty.
    told = document(program("check", "data", "--json"))
    assert told["wrong"] is False
    assert {"split": "val", "class": "red", "images": 6} in told["classes"]


def test_val_judges_any_part_and_other_folders(program: Program, place: Path) -> None:
    told = document(program("val", "run", "--json"))
    assert (told["split"], told["images"]) == ("test", 12)
    assert told["metrics"]["accuracy"] > 0.9
    assert np.array(told["confusion"]).sum() == 12
    assert [each["name"] for each in told["classes"]] == ["blue", "green", "red"]
    assert document(program("val", "run", "--split", "train", "--json"))["images"] == 60
    shuffled = write_folder(place / "other", {"": 3}, ("red", "blue"))
    other = document(program("val", "run", str(shuffled), "--json", "-j", "2"))
    assert (other["split"], other["images"], other["metrics"]["accuracy"]) == ("", 6, 1.0)
    done = program("val", "run", "data", "--html", "val.html")
    assert "of the test images right" in done.stdout
    assert "recall" in done.stdout
    assert (place / "val.html").read_text().count("<svg") == 2


def test_val_refuses_other_classes_with_the_difference(program: Program, place: Path) -> None:
    write_class(place / "wrong" / "red", COLOURS["red"], [1])
    write_class(place / "wrong" / "rose", COLOURS["red"], [2])
    done = program("val", "run", "wrong")
    assert done.returncode == 2
    assert "received rose besides" in done.stderr
    done = program("val", "run", "data", "--split", "tests")
    assert "Did you mean test" in done.stderr
    done = program("val", "run", "wrong", "--split", "val")
    assert "it is not divided" in done.stderr


def test_predict_takes_files_folders_standard_input_and_the_runs_own_data(
    program: Program, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((place / "data" / "test" / "red").iterdir())
    of_folder = program("predict", "run", "data/test/red", "--jsonl")
    lines = [json.loads(line) for line in of_folder.stdout.splitlines()]
    assert [line["source"] for line in lines] == [f"data/test/red/{path.name}" for path in files]
    assert {line["top"][0]["class"] for line in lines} == {"red"}
    assert sum(share["probability"] for share in lines[0]["top"]) == pytest.approx(1)

    def given(data: bytes) -> list[Any]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        found: list[Any] = document(program("predict", "run", "-", "--json"))["predictions"]
        return found

    names = [f"data/test/red/{path.name}" for path in files[:2]]
    for separator in ("\n", "\0"):
        assert [each["source"] for each in given((separator.join(names) + separator).encode())] == names
    (alone,) = given(files[0].read_bytes())
    assert alone["source"] == "-"
    assert alone["top"][0]["probability"] == pytest.approx(lines[0]["top"][0]["probability"], rel=1e-5)
    own = document(program("predict", "run", "data", "--json"))["predictions"]
    assert len(own) == 12
    assert {each["truth"] for each in own} == set(COLOURS)
    done = program("predict", "run", "data", "--limit", "2")
    assert done.stdout.count("(truth: blue, right)") == 2


@pytest.mark.parametrize("kind", ["tiff", "ppm"])
def test_an_image_by_standard_input_is_told_from_names_of_files(
    program: Program, place: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Though all its bytes are those of text."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 12), (10, 10, 10)).save(buffer, kind)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(buffer.getvalue())))
    (alone,) = document(program("predict", "run", "-", "--json"))["predictions"]
    assert alone["source"] == "-"


def test_names_of_any_bytes_come_by_standard_input(
    program: Program, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [b"tab\tulator.png", b"\xff.png"]
    for name in names:
        draw(COLOURS["red"], 1).save(Path(os.fsdecode(name)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\0".join(names))))
    assert len(document(program("predict", "run", "-", "--json"))["predictions"]) == 2


def test_a_run_is_judged_by_its_own_images_only_while_they_are_those_that_it_was_begun_with(
    program: Program, tmp_path: Path
) -> None:
    write_folder(tmp_path / "data", {"": 12})
    (tmp_path / "data" / "red" / "bad.png").touch()
    options = ("--epochs", "1", "--skip-bad", "--output", "run")
    assert program("train", "data", *SMALL, *options).returncode == 0
    for verb in ("val", "export"):  # They read as the run did, without being told again.
        assert program(verb, "run").returncode == 0
    assert len(document(program("predict", "run", "data", "--json"))["predictions"]) == 6
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    told = document(program("val", "run", "copy", "--skip-bad", "--json"))
    assert (told["images"], told["seen"]) == (36, 30)
    assert "30 of these 36 images are among those" in program("val", "run", "copy", "--skip-bad").stdout
    (tmp_path / "data" / "blue").rename(tmp_path / "data" / "zblue")
    for arguments in (("val", "run"), ("predict", "run", "data"), ("export", "run")):
        done = program(*arguments)
        assert done.returncode == 2
        assert "some were added, removed, changed or renamed" in done.stderr


def test_a_run_on_files_goes_on_with_the_same_bits_and_where_its_data_have_moved_to(
    program: Program, tmp_path: Path
) -> None:
    write_folder(tmp_path / "data", {"": 15})
    config = TrainConfig(
        data=str(tmp_path / "data"),
        model="mlp",
        image_size=(8, 8),
        model_kwargs={"hidden_sizes": [6]},
        epochs=3,
        batch_size=8,
        crop_scale=0.3,
        hflip=0.5,
        color_jitter=0.4,
        checkpoint_seconds=0,
    )
    list(train(config.model_copy(update={"output": "whole"})))
    for record in train(config.model_copy(update={"output": "cut", "workers": 1})):
        if isinstance(record, StepRecord) and record.step == 7:
            break
    (tmp_path / "data").rename(tmp_path / "moved")
    assert program("train", "moved", "--resume", "cut").returncode == 0
    for which in ("best", "last"):
        name = f"weights/{which}/model.safetensors"
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert program("val", "cut").returncode == 0


def test_predict_refuses_a_bad_image_or_passes_over_it(program: Program, place: Path) -> None:
    mixed = place / "mixed"
    write_class(mixed, COLOURS["red"], range(3))
    (mixed / "001a.jpg").write_text("just text")
    done = program("predict", "run", "mixed")
    assert done.returncode == 2
    assert "mixed/001a.jpg: no image that can be read" in done.stderr
    done = program("predict", "run", "mixed", "--skip-bad", "--jsonl")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert "passed over mixed/001a.jpg: no image that can be read" in done.stderr


def test_export_writes_what_says_the_same_for_any_number_of_images(program: Program, place: Path) -> None:
    told = document(program("export", "run", "-o", "net.onnx", "--json"))
    assert told["images"] == 12
    assert told["difference"] < 1e-4
    session = InferenceSession(place / "net.onnx")
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == ["blue", "green", "red"]
    prepared = json.loads(metadata["preprocessing"])
    assert prepared["image_size"] == [8, 8]
    files = sorted((place / "data" / "test" / "green").iterdir())
    images = []
    for path in files:  # As the metadata says, without this project.
        picture = Image.open(path).convert("RGB")
        scale = max(8 / picture.height, 8 / picture.width)
        size = (round(picture.width * scale), round(picture.height * scale))
        left, top = (size[0] - 8) // 2, (size[1] - 8) // 2
        pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + 8, top + 8)))
        images.append(((pixels / 255 - prepared["mean"]) / prepared["std"]).transpose(2, 0, 1))
    (logits,) = session.run(["logits"], {"images": np.stack(images).astype(np.float32)})
    assert logits.shape == (4, 3)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    said = document(program("predict", "run", *map(str, files), "--json"))["predictions"]
    for row, each in zip(shares, said, strict=True):
        expected = {share["class"]: share["probability"] for share in each["top"]}
        assert dict(zip(("blue", "green", "red"), row, strict=True)) == pytest.approx(expected, abs=0.02)
    onnx.checker.check_model(onnx.load(place / "net.onnx"))


def test_numbers_are_learned_judged_predicted_and_exported(program: Program, tmp_path: Path) -> None:
    """How light a picture is, in a unit far from that of a network's outputs."""
    (tmp_path / "pictures").mkdir()
    rows = []
    for seed in range(120):
        level = 40 + (seed * 37) % 170
        draw((level,) * 3, seed).save(tmp_path / "pictures" / f"{seed}.png")
        rows.append(f"pictures/{seed}.png,{1000 + 10 * level}")
    (tmp_path / "light.csv").write_text("\n".join(["path,number", *rows]))
    done = program("train", "light.csv", *SMALL, "--epochs", "25", "--batch-size", "16", "--output", "run")
    assert done.returncode == 0, done.stderr
    assert "numbers; " in done.stdout
    told = document(program("val", "run", "--json"))
    assert told["metrics"]["r2"] > 0.95
    assert told["metrics"]["rmse"] < 100
    (said,) = document(program("predict", "run", "pictures/7.png", "--json"))["predictions"]
    assert abs(said["number"] - (1000 + 10 * (40 + 7 * 37 % 170))) < 400
    exported = document(program("export", "run", "--json"))
    assert exported["difference"] < 1e-4
    assert "Numbers said and true" in (tmp_path / "run" / "report.html").read_text()
    refused = program("train", "light.csv", *SMALL, "--smoothing", "0.1", "--output", "other")
    assert "Smoothing is for classes" in refused.stderr
    assert "classes" in program("val", "run", str(write_folder(tmp_path / "classes", {"": 2}))).stderr


def test_train_leaves_bad_images_out_where_it_is_told_to_and_counts_them(program: Program, tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"": 8})
    (tmp_path / "data" / "red" / "bad.jpg").write_text("just text")
    refused = program("train", "data", *SMALL, "--epochs", "1")
    assert refused.returncode == 2
    assert "red/bad.jpg: no image that can be read" in refused.stderr
    assert not (tmp_path / "runs").exists()
    done = program("train", "data", *SMALL, "--epochs", "1", "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert "note: images that cannot be read, left out: 1" in done.stdout


def bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def cut_short() -> bytes:
    buffer = io.BytesIO()
    draw(COLOURS["red"], 1, (300, 300)).save(buffer, "jpeg")
    return buffer.getvalue()[:-2000]


def empty_the_folder(root: Path) -> None:
    shutil.rmtree(root / "data")
    (root / "data").mkdir()


def leave_one_class(root: Path) -> None:
    for name in ("red", "green"):
        shutil.rmtree(root / "data" / name)


def add(name: str, content: bytes) -> Callable[[Path], int]:
    return lambda root: (root / "data" / "red" / name).write_bytes(content)


def label_besides(root: Path) -> None:
    shutil.move(root / "data", root / "train")
    (root / "data").mkdir()
    shutil.move(root / "train", root / "data" / "train")
    write_class(root / "data" / "val" / "purple", (90, 0, 90), [5])


@pytest.mark.parametrize(
    ("spoil", "said", "checked"),
    [
        (empty_the_folder, "an empty folder", 2),
        (leave_one_class, "nothing to tell apart", 1),
        (add("a.jpg", b"just text"), "no image that can be read", 1),
        (add("a.jpg", b""), "an empty file", 1),
        (add("a.jpg", cut_short()), "truncated", 1),
        (add("a.png", bomb()), "400,000,000 pixels", 1),
        (add("line\nbreak.jpg", b"x"), "line\\nbreak.jpg", 1),
        (label_besides, "val has purple, which train has not", 1),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_bad_data_are_refused_by_train_and_told_by_check(
    program: Program, tmp_path: Path, spoil: Callable[[Path], object], said: str, checked: int
) -> None:
    write_folder(tmp_path / "data", {"": 3})
    spoil(tmp_path)
    for done, status in ((program("train", "data", *SMALL), 2), (program("check", "data"), checked)):
        assert done.returncode == status
        assert said in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_files_and_folders_that_may_not_be_read_are_named(program: Program) -> None:
    with without_rights() as folder:
        write_folder(folder / "data", {"": 3})
        file = folder / "data" / "red" / "000.png"
        file.chmod(0)
        for verb, status in ((("train", *SMALL), 2), (("check",), 1)):
            done = program(*verb[:1], str(folder / "data"), *verb[1:])
            assert done.returncode == status
            assert "red/000.png: Permission denied" in done.stderr + done.stdout
        (folder / "data" / "blue").chmod(0)
        done = program("check", str(folder / "data"))
        assert done.returncode == 2
        assert "blue\n  received Permission denied" in done.stderr


def test_names_of_any_script_and_links_in_a_circle_are_no_problem(program: Program, tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"": 6})
    write_class(tmp_path / "data" / "花\n$ε [old][b]", (90, 90, 90), range(50, 56))
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "data" / "red") + b"/\xff.png"))
    draw(COLOURS["red"], 99).save(odd)
    (tmp_path / "data" / "red" / "circle").symlink_to(tmp_path / "data" / "red")
    done = program("train", "data", *SMALL, "--epochs", "1", "--output", "run")
    assert done.returncode == 0, done.stderr
    assert "[old][b]" in program("check", "data", "--html", "page.html").stdout
    assert "[old][b]" in program("val", "run", "--html", "val.html").stdout
    assert program("predict", "run", "data/red").returncode == 0


def test_weights_that_are_another_networks_cut_short_or_a_pickle_are_refused(program: Program, place: Path) -> None:
    folder = place / "weights"
    shutil.copytree(place / "run" / "weights" / "best", folder)
    image = str(next((place / "data" / "test" / "red").iterdir()))
    state = load_tensors(folder / "model.safetensors")
    file = folder / "model.safetensors"

    def refused(said: str) -> None:
        done = program("predict", "weights", image)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr

    save_tensors(file, {name: state[name] for name in sorted(state)[1:]})
    refused("missing")
    save_tensors(file, state)
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    refused("cut short or of another format")
    torch.save(state, file)
    refused("weights_only=True")
    file.write_bytes(whole)
    (folder / "config.json").write_text('{"model": "mlp"')
    refused("damaged or edited")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "data", *SMALL, "--output", "run"), "holds something already"),
        (("train", "data", "--model", "resnet17"), "Did you mean resnet1"),
        (("train", "data", "--modle", "mlp"), "--model"),
        (("val", "nowhere"), "a run folder"),
        (("val", "run", "nowhere"), "which is neither"),
        (("export", "nowhere"), "a run folder"),
        (("predict", "run", "nowhere.jpg"), "'nowhere.jpg', which is none of these"),
        (("predict", "run", "empty"), "received none"),
        (("check", "nowhere"), "which is neither"),
        (("check", "digits"), "no files of images"),
        (("check", "data", "--html", "empty"), "a folder"),
        (("export", "run/weights/best"), "images to check"),
        (("val", "run/weights/best"), "the data to judge by"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else "",
)
def test_bad_use_is_refused_with_what_was_expected(
    program: Program, place: Path, arguments: tuple[str, ...], said: str
) -> None:
    (place / "empty").mkdir()
    done = program(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_loses_nothing_that_was_saved(striate: Any, place: Path) -> None:
    """A limit on the size of files, which writing passes at some point as it does on a full disk."""
    before = (place / "run" / "weights" / "best" / "model.safetensors").read_bytes()
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "from striate.__main__ import main\n"
        f"sys.argv = ['striate', 'train', 'data', *{SMALL!r}, '--epochs', '3', '--output', 'full']\n"
        "main()"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "expected to write" in done.stderr
    assert "what was saved before is untouched" in done.stderr
    assert "Traceback" not in done.stderr
    assert (place / "run" / "weights" / "best" / "model.safetensors").read_bytes() == before
