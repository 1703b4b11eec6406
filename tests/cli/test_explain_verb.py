"""``striate explain``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def test_it_says_and_shows_what_a_network_makes_of_an_image(program: Callable[..., Any], tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 90, dtype=np.uint8)).save(tmp_path / "grey.png")
    done = program("explain", "lenet5", "grey.png", "--html", "page.html", "-o", "pictures", "--class", "class 2")
    assert done.returncode == 0, done.stderr
    assert "features.c3: a unit sees 14 x 14 pixels" in done.stdout
    assert "class 2 is" in done.stdout
    assert "by chance" in done.stdout
    assert (tmp_path / "page.html").is_file()
    assert (tmp_path / "pictures" / "grad-cam.png").is_file()
    done = program("explain", "lenet5", "grey.png", "--json")
    found = json.loads(done.stdout)
    assert sum(found["classes"].values()) - 1 < 1e-6
    assert [each["layer"] for each in found["layers"]][:2] == ["features.c1", "features.c3.pool"]
    assert found["layers"][0]["rows"] == [14, 19]
    done = program("explain", "lenet5", "grey.png", "--filter", "features.c1:2", "--images", ".", "--html", "page.html")
    assert "filter 2 of features.c1: " in done.stdout
    assert "What filter 2 of features.c1 answers to most" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_bad_use_is_told(program: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    for flags, said in (
        (("lenet5", "nowhere.png"), "nowhere.png"),
        (("lenet5", "x.png", "-o", "file.txt"), "file.txt, a file"),
        (("lenet9", "x.png"), "lenet5"),
        (("lenet5", "x.png", "--image-size", "big"), "--image-size"),
        (("lenet5", "x.png", "--filter", "features.c1"), "--filter"),
        (("lenet5", "x.png", "--seed", "-1"), "--seed"),
        (("lenet5", "x.png", "--std", "0"), "--std"),
        (("lenet5", "x.png", "--filter", "features.c1:2"), "a folder of images"),
    ):
        done = program("explain", *flags)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
