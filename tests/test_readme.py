"""What the README says, done as it says."""

import csv
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from striate.data.source import load_digits
from striate.data.transforms import resize

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's fenced blocks of one language; "" is output."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for found, text in fenced if found == language]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project with this environment in it, and a small folder of MNIST-style files."""
    folder = tmp_path_factory.mktemp("readme") / "striate"
    ignored = shutil.ignore_patterns(".*", "runs", "__pycache__", "*.egg-info", "mnist")
    shutil.copytree(ROOT, folder, ignore=ignored)
    (folder / ".venv").symlink_to(sys.prefix)
    write_mnist(folder / "mnist")
    yield folder
    (folder / ".venv").unlink()


def write_mnist(folder: Path) -> None:
    digits = load_digits()
    pixels, labels = resize(digits.images, (28, 28))[:, 0].numpy(), digits.labels.byte().numpy()
    folder.mkdir()
    for part, chosen in (("train", slice(0, 400)), ("t10k", slice(400, 500))):
        images = pixels[chosen]
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
        header = struct.pack(">2I", 2049, len(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels[chosen].tobytes())


def run(command: str, folder: Path) -> str:
    # `make test` inside the tests only collects them.
    environment = {**os.environ, "PYTEST_ADDOPTS": "--collect-only -q"}
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_the_two_commands(copy: Path) -> None:
    ready = Path(sys.prefix) / ".ready"
    sources = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
    if not ready.exists() or any(path.stat().st_mtime > ready.stat().st_mtime for path in sources):
        pytest.skip("this environment is not the one that make makes: run `make setup`")
    (both,) = (block for block in blocks("bash") if block.startswith("make"))
    out = run(both, copy)
    assert "61,706 parameters" in out
    assert "test accuracy" in out
    assert "digits test 3" in out
    assert "tests collected" in out or "selected" in out
    assert (copy / "runs/classify/demo/report.html").stat().st_size < 2_000_000
    (table,) = blocks("")
    for line in table.splitlines():
        cells = re.split(r"  +", line.strip())
        assert line == "..." or any(cells == re.split(r"  +", printed.strip()) for printed in out.splitlines()), line


def test_the_tour_and_the_same_from_python(copy: Path) -> None:
    tour = [block for block in blocks("bash") if not block.startswith("make")]
    out = run("\n".join(tour), copy)
    accuracies = [float(share) for share in re.findall(r"test accuracy ([\d.]+)%", out)]
    assert len(accuracies) == 4
    assert min(accuracies[:2]) > 90  # of the tour's own runs on digits; the others have a few hundred images
    assert "truth:" in out
    (python,) = blocks("python")
    (copy / "tour.py").write_text(python, encoding="utf-8")
    lines = run("./.venv/bin/python tour.py", copy).splitlines()
    assert len(lines) == 7
    assert float(lines[2].split()[1]) > 0.9
    assert lines[-1] == "(3·3·1 + 1)·32"


def test_contributing_names_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert {"demo", "test", "setup", "check"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize(("script", "recipe"), [("digits", "lenet5-digits"), ("mnist", "lenet5-mnist")])
def test_figures_are_those_of_the_measured_rows(script: str, recipe: str) -> None:
    (said,) = re.findall(rf"\| ([\d.]+) % \| `benchmarks/{script}.py` \|", README)
    with (ROOT / "benchmarks" / "results" / "accuracy.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["recipe"] == recipe]
    last = [float(row["test_accuracy"]) for row in rows if row["commit"] == rows[-1]["commit"]]
    assert len(last) == 3
    assert f"{statistics.mean(last):.2%}" == f"{said}%"


def test_every_network_is_in_the_table_with_its_size() -> None:
    from striate.zoo import ZOO

    said = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", README, re.MULTILINE))
    assert said == {entry.name: f"{entry.parameters:,}" for entry in ZOO.values()}
