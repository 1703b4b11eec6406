"""The exercises' answers: each is there, and its commands print what the page says they do."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from pages import README, ROOT, blocks, run, run_python
from paintings import write_network, write_pictures
from striate.data.preprocessing import Preprocessing
from striate.weights import WeightsConfig, save_weights
from striate.zoo import create_model

DOCS = ROOT / "docs"
PAGE = (DOCS / "exercises.md").read_text(encoding="utf-8")
BEFORE, *SECTIONS = re.split(r"^(?=## )", PAGE, flags=re.MULTILINE)
COMMANDS = re.compile(r"^```bash\n(.*?)^```\n(?:\n((?:> [^\n]*\n)*)\n?```\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
SHELL = "export PATH=$PWD/.venv/bin:$PATH OMP_NUM_THREADS=2\n"  # As the page says.
ROUNDING = 1e-8  # Differences below that come of how numbers are rounded.
PEAKS = 1.1  # By which factor peaks may differ, on a processor with other kernels.
POINTS = 6.0  # By which accuracies may differ on another machine, whose sums are of another order.


def number(section: str) -> int:
    (found,) = re.findall(r"^## (\d+)\. ", section)
    return int(found)


def test_each_question_has_an_answer_and_a_command() -> None:
    assert [number(section) for section in SECTIONS] == list(range(1, 39))
    for section in SECTIONS:
        title, answer, *_ = section.split("\n\n")
        assert title.endswith("?"), title
        assert len(answer.split()) >= 8, title
        assert "striate " in COMMANDS.findall(section)[0][0], title


@pytest.mark.parametrize("section", SECTIONS, ids=number)
def test_figures_of_an_answer_are_those_that_are_printed(section: str) -> None:
    printed = "".join(blocks("", section))
    measured = "\n".join(line for line in README.splitlines() if "`benchmarks/" in line)
    sources = f"{printed}\n{measured}".replace(" %", "%")
    for figure in re.findall(r"\*\*(\d[^*]*)\*\*", section):
        found = re.search(rf"(?<![\d.,]){re.escape(figure.replace(' %', '%'))}(?!\d|[.,]\d)", sources)
        assert found, figure
        assert len(figure) >= 3, f"{figure} may be found by chance"


def anchor(heading: str) -> str:
    """Return what a heading is called in links, as GitHub does it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_links_and_pictures_are_there() -> None:
    anchors = {anchor(heading) for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}
    targets = re.findall(r"\]\(([^)]+)\)", re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL))
    assert targets
    for target in targets:
        path, _, place = target.partition("#")
        assert (DOCS / path).exists() if path else place in anchors, target


@pytest.fixture(scope="module")
def prepared(copy: Path) -> Path:
    """A copy in which everything lies that the commands read."""
    for source, name in zip(write_pictures(copy), ("photo.jpg", "painting.jpg"), strict=True):
        Image.open(source).save(copy / name)
    write_network(copy)
    torch.manual_seed(0)
    config = WeightsConfig(
        model="mobilenet_v2",
        classes=tuple(f"class {number}" for number in range(1000)),
        preprocessing=Preprocessing(image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3),
    )
    save_weights(copy / "weights" / "mobilenet_v2", create_model("mobilenet_v2").state_dict(), config)
    (commands,), (code,) = blocks("bash", BEFORE), blocks("python", BEFORE)
    run(SHELL + commands, copy)
    run_python(code, copy)
    return copy


def alike(said: str, printed: str, *, is_peak: bool) -> bool:
    """Return whether two words are the same, or figures that another machine may have made differ: no counts."""
    if said == printed:
        return True
    if not (is_peak or re.search(r"%$|\d\.\d|\de-\d", said)):
        return False
    try:
        ours, theirs = (float(word.removesuffix("%").replace(",", "")) for word in (said, printed))
    except ValueError:
        return False
    if is_peak:
        return max(ours, theirs) <= PEAKS * min(ours, theirs)
    if said.endswith("%") or said[0] in "+-":  # Points of a percentage, too.
        return printed.endswith("%") == said.endswith("%") and abs(ours - theirs) <= POINTS
    return max(ours, theirs) <= max(2 * min(ours, theirs), ROUNDING)


def prints(said: str, line: str) -> bool:
    """Return whether a line of the page, which may leave parts out, was printed; times differ each time."""
    ours, theirs = (" ".join(re.sub(r"\bx [\d.]+", "x", each).split()) for each in (said, line))
    return re.fullmatch(re.escape(ours).replace(r"\.\.\.", ".*"), theirs) is not None


def prints_alike(said: str, line: str, peaks: set[int]) -> bool:
    """Return whether a line of a table was printed, but for what another machine may have made differ.

    Args:
        said: on the page.
        line: that was printed.
        peaks: where columns of peaks of memory end.
    """
    words = line.split()
    ours = list(re.finditer(r"\S+", said))
    pairs = zip(ours, words, strict=False)
    return len(ours) == len(words) and all(alike(our[0], word, is_peak=our.end() in peaks) for our, word in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS, ids=number)
def test_commands_print_what_the_page_says(prepared: Path, section: str) -> None:
    for commands, quoted, said in COMMANDS.findall(section):
        out = run(SHELL + commands, prepared).splitlines()
        setting = re.sub(r"^> ", "", quoted, flags=re.MULTILINE).replace("\n", " ")
        assert any(prints_alike(setting, line, set()) for line in out) or not quoted, setting
        peaks = {found.end() for line in said.splitlines() for found in re.finditer(r"\bbytes(?=  |$)", line)}
        is_exact = all(line.startswith(("striate cost ", "striate plan ")) for line in commands.splitlines())
        for line in said.splitlines():
            if line != "...":
                assert any(prints(line, each) if is_exact else prints_alike(line, each, peaks) for each in out), line


def test_what_may_differ_from_machine_to_machine() -> None:
    assert alike("95.2%", "93.9%", is_peak=False)
    assert alike("+5.0", "+3.1", is_peak=False)
    assert alike("2e-16", "7e-16", is_peak=False)
    assert alike("1,473,216", "1,518,528", is_peak=True)
    assert not alike("5,849,136", "5,849,137", is_peak=False)
    assert not alike("-51", "-46", is_peak=False)
    assert not alike("95.2%", "75.2%", is_peak=False)
    assert not alike("1,473,216", "2,473,216", is_peak=True)
    assert prints("a.b Conv2d: ...; 3 = 3 bytes", "a.b  Conv2d: 9 + 1 = 10; 3 = 3 bytes")
    assert not prints("a.b Conv2d: 9 + 1 = 10", "a.b Conv2d: 9 + 1 = 10; 3 = 3 bytes")
