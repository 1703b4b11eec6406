"""Data with boxes on the command line: looked at, counted, drawn; and what they cannot be used for."""

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boxed_scenes import SIZE, draw_things, seeds_of, write_coco, write_voc, write_yolo
from striate.reporting.boxes import box_colours

Program = Callable[..., Any]
COUNTS = {"train": 6, "val": 2}


@pytest.mark.parametrize("write", [write_voc, write_coco, write_yolo])
def test_check_counts_boxes_of_each_class_and_part(program: Program, tmp_path: Path, write: Any) -> None:
    write(tmp_path / "data", COUNTS)
    things = {
        part: [thing for seed in seeds_of(part, count) for thing in draw_things(seed)[1]]
        for part, count in COUNTS.items()
    }
    counts = {part: Counter(thing.name for thing in found) for part, found in things.items()}
    done = program("check", "data", "--task", "detect", "--html", "page.html")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()]
    assert lines[0] == ["class", "train boxes", "val boxes"]
    for name in ("cell", "dot"):
        assert [name, str(counts["train"][name]), str(counts["val"][name])] in lines
    every = [thing.xyxy for found in things.values() for thing in found]
    for side, lengths in (
        ("height", [b - t for _, t, _, b in every]),
        ("width", [r - left for left, _, r, _ in every]),
    ):
        assert f"box {side}: {min(lengths)} to {max(lengths)}," in done.stdout
    assert "nothing to mend before training" in done.stdout
    told = json.loads(program("check", "data", "--task", "detect", "--json").stdout)
    assert {"split": "val", "class": "dot", "boxes": counts["val"]["dot"]} in told["classes"]
    assert told["sizes"]["box width"]["largest"] == max(r - left for left, _, r, _ in every)


def test_the_page_shows_images_with_frames_around_their_boxes(program: Program, tmp_path: Path) -> None:
    write_voc(tmp_path / "data", {"train": 2, "val": 1})
    program("check", "data", "--task", "detect", "--html", "page.html")
    page = (tmp_path / "page.html").read_text()
    shown = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(shown) == 3
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[0]))))
    assert picture.shape == (*SIZE, 3)
    colours = dict(zip(("cell", "dot"), box_colours(2), strict=True))
    for name, (left, top, right, bottom) in draw_things(0)[1]:
        for row, column in ((top, left), (bottom - 1, right - 1), (top, (left + right) // 2)):
            assert tuple(picture[row, column]) == colours[name]


def test_what_is_wrong_with_boxes_is_to_be_mended_or_noted(program: Program, tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", COUNTS)
    file = root / "Annotations" / "1.xml"
    text = file.read_text()
    box = re.search(r"<xmin>(\d+)</xmin>", text)
    assert box is not None
    first = text[text.index("<object>") : text.index("</object>") + len("</object>")]
    file.write_text(text.replace("</annotation>", f"{first}</annotation>"))
    done = program("check", "data", "--task", "detect")
    assert done.returncode == 0
    assert "note  duplicate box: JPEGImages/1.png" in done.stdout
    file.write_text(text.replace(box[0], "<xmin>51</xmin>", 1))
    done = program("check", "data", "--task", "detect", "--html", "page.html")
    assert done.returncode == 1
    assert "MEND  swapped corners: JPEGImages/1.png" in done.stdout
    assert "swapped corners" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "data", "--task", "detect", "--model", "lenet5"), "a network for finding things"),
        (("train", "data", "--model", "lenet5"), "images with boxes"),
        (("train", "shapes", "--model", "lenet5"), "shapes, whose images have boxes"),
        (("check", "data"), "images with boxes"),
        (("check", "empty", "--task", "detect"), "images with boxes in empty"),
        (("check", "digits", "--task", "detect"), "no files of images"),
    ],
)
def test_boxes_are_refused_where_they_are_of_no_use(
    program: Program, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    write_voc(tmp_path / "data", COUNTS)
    (tmp_path / "empty").mkdir()
    done = program(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
