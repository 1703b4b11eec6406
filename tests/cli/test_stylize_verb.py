"""Pictures painted on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from conftest import Done
from paintings import MODEL, write_network, write_pictures
from striate.jobs.painting.easel import Distances, Worth
from striate.jobs.painting.page import in_words
from striate.jobs.painting.stylizing import Stylized

Program = Callable[..., Done]
ASKED = ("stylize", "content.png", "style.png", "-o", "a.png", "--model", MODEL, "--weights", "squeezenet.safetensors")
SMALL = ("--image-size", "48", "--steps", "2")


@pytest.fixture
def pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    write_network(tmp_path)


@pytest.mark.usefixtures("pictures")
def test_a_picture_in_words_and_on_a_page(program: Program, tmp_path: Path) -> None:
    done = program(*ASKED, *SMALL, "--html", "page.html", "--memory", "500MB")
    assert done.returncode == 0, done.stderr
    first, second, verdict, third = done.stdout.splitlines()
    assert first.startswith("a.png: 36x48 pixels, took ")
    assert "predicted to take" in first
    assert "half of each blended" in second
    assert verdict.startswith("that is n")
    assert third == "page: page.html"
    assert "preview: a-preview.png" in done.stderr
    assert "48 px for 2 steps" in done.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 3
    assert "<svg" in page
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (48, 36)
    again = program(*ASKED, *SMALL)
    assert again.returncode == 2
    assert "a.png, which is there" in again.stderr


@pytest.mark.parametrize(
    ("content", "style", "said"),
    [
        (0.4, 0.2, "that is nearer to both than half of each blended"),
        (0.6, 0.2, "that is no nearer to the content than half of each blended; what may help: a smaller "),
        (0.4, 0.3, "that is no nearer to the style than half of each blended; what may help: more --steps"),
        (0.5, 0.3, "that is no nearer to the content and the style than half"),
    ],
)
def test_a_picture_is_worth_something_if_it_is_better_than_a_blend(content: float, style: float, said: str) -> None:
    others = Distances(0.0, 2.0), Distances(2.0, 0.0), Distances(0.5, 0.3)
    worth = Worth(Distances(content, style), *others)
    done = Stylized(path=Path("a.png"), size=(48, 36), worth=worth, seconds=1.0, peak=None)
    assert in_words(done)[-1].startswith(said)


@pytest.mark.usefixtures("pictures")
def test_the_same_as_a_document(program: Program) -> None:
    told = json.loads(program(*ASKED, *SMALL, "--preserve-color", "--init", "noise", "--opt", "adam", "--json").stdout)
    assert told["picture"] == "a.png"
    assert told["size"] == [36, 48]
    assert told["sizes"] == [{"side": 48, "steps": 2}]
    assert told["distances"]["content"]["content"] == 0
    assert told["predicted_peak_bytes"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*ASKED[:1], "nowhere.png", *ASKED[2:]), "'nowhere.png', which is not there"),
        ((*ASKED[:2], ".", *ASKED[3:]), "'.', which is a folder"),
        ((*ASKED[:4], "a.txt", *ASKED[5:]), "--output as a file that ends with .png"),
        ((*ASKED[:4], "style.png", *ASKED[5:]), "style.png, which is there"),
        ((*ASKED, "--model", "vgg91"), "Did you mean vgg19"),
        ((*ASKED, "--weights", "other.safetensors"), "other.safetensors"),
        ((*ASKED, "--image-size", "8"), "--image-size of 32 or more"),
        ((*ASKED, "--opt", "sgd"), "--opt"),
        ((*ASKED, "--memory", "much"), "a number of bytes"),
        ((*ASKED, "--html", "."), "--html"),
    ],
)
@pytest.mark.usefixtures("pictures")
def test_what_cannot_be_painted_is_refused(program: Program, arguments: tuple[str, ...], said: str) -> None:
    done = program(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("pictures")
def test_where_nothing_can_be_written_it_says_so_before_it_paints(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    done = program(*ASKED[:4], "file/a.png", *ASKED[5:], *SMALL)
    assert done.returncode == 1
    assert "expected to make the folder file" in done.stderr or "Not a directory" in done.stderr
