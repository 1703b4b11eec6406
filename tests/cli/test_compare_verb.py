"""Experiments on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from boxed_scenes import write_voc
from conftest import Done
from striate.jobs.comparing_proposals import COUNTS

Program = Callable[..., Done]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STRIATE_PROPOSALS", str(tmp_path / "kept"))
    write_voc(tmp_path / "data", {"train": 3, "val": 1})
    return "data"


def test_proposals_are_compared_in_words_and_on_a_page(program: Program, data: str, tmp_path: Path) -> None:
    done = program("compare", "proposals", "--data", data, "-j", "0", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][0] == "data:"
    assert lines[1] == ["proposals", "fast", "recall", "fast", "MABO", "quality", "recall", "quality", "MABO"]
    assert [line[0] for line in lines[2:9]] == [f"{count:,}" for count in COUNTS]
    assert all(line[1].endswith("%") for line in lines[2:9])
    assert [line[0] for line in lines[11:13]] == ["fast", "quality"]
    assert lines[13] == ["page:", "page.html"]
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_one_mode_as_a_document(program: Program, data: str) -> None:
    asked = ("compare", "proposals", "--data", data, "--only", "fast", "--limit", "2", "--json")
    told = json.loads(program(*asked, "-j", "2").stdout)
    assert (told["data"], told["images"], told["overlap"]) == ("data", 2, 0.5)
    (mode,) = told["modes"]
    assert mode["mode"] == "fast"
    assert mode["searched"] == 2
    assert mode["seconds_per_image"] > 0
    assert [each["proposals"] for each in mode["first"]] == list(COUNTS)
    assert 0 < mode["first"][-1]["recall"] <= 1
    again = json.loads(program(*asked, "-j", "0").stdout)
    assert again["modes"][0] == mode | {"seconds_per_image": None, "searched": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("proposals", "--data", "nowhere"), "received 'nowhere'"),
        (("proposals", "--data", "digits"), "expected images with boxes"),
        (("proposals", "--data", "data", "--only", "slow"), "--only"),
        (("proposals", "--data", "data", "--limit", "0"), "--limit"),
        (("proposals", "--data", "data", "--html", "."), "--html"),
        (("im2col", "--seed", "-1"), "--seed"),
        (("im2col", "-o", "file.txt"), "file.txt, a file"),
        (("detectors", "--data", "nowhere"), "received 'nowhere'"),
        (("detectors", "--data", "data", "--only", "rcn"), "Did you mean rcnn"),
        (("detectors", "--data", "data", "--pretrained", "nowhere.safetensors"), "nowhere.safetensors"),
        (("optimizers", "--data", "nowhere"), "received 'nowhere'"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    program: Program, data: str, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file.txt").touch()
    done = program("compare", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_image_that_cannot_be_read_ends_it(program: Program, data: str, tmp_path: Path) -> None:
    (tmp_path / data / "JPEGImages" / "1.png").write_bytes(b"no image")
    done = program("compare", "proposals", "--data", data)
    assert done.returncode == 2
    assert "1.png" in done.stderr


def test_an_experiment_says_what_came_of_it(program: Program, tmp_path: Path) -> None:
    done = program("compare", "initialisation", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    assert "20 dense layers of 64 numbers on 256 images of digits" in done.stdout
    assert any(line.startswith("ReLU, He, batch norm") for line in done.stdout.splitlines())
    assert (tmp_path / "page.html").is_file()
    told = json.loads(program("compare", "initialisation", "--json").stdout)
    assert len(told["rows"]) == 18
