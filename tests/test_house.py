"""The house in order: short files, and nothing loaded before it is needed."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import striate

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(ROOT.glob("src/**/*.py"))
WITH_EXAMPLES = [path for path in SOURCES if ">>>" in path.read_text(encoding="utf-8")]
HEAVY = {"torch", "lightning_fabric", "torchmetrics", "matplotlib", "sklearn", "numpy", "PIL"}


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_in_docstrings_print_what_they_say(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_350_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def imported(code: str) -> set[str]:
    """Return the top-level packages that some code loads in a fresh interpreter."""
    script = f"import sys\nsys.argv = ['striate']\n{code}\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.splitlines()[-1].split())


def run_until_exit(*arguments: str) -> str:
    return (
        f"sys.argv += {list(arguments)!r}\nfrom striate.__main__ import main\n"
        "import io, contextlib\n"
        "try:\n  with contextlib.redirect_stdout(io.StringIO()): main()\nexcept SystemExit: pass"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("train", "--help"),
        ("predict", "--help"),
        ("compare", "--help"),
        ("compare", "proposals", "--help"),
        ("compare", "detectors", "--help"),
        ("compare", "detectors", "--data", "nowhere"),
        ("compare", "proposals", "--data", "nowhere"),
        ("stylize", "--help"),
        ("stylize", "nowhere.jpg", "nowhere.jpg", "-o", "a.png"),
        ("models",),
        ("cost", "--help"),
        ("cost", "resnet5"),
        ("cost", "lenet5", "--image-size", "32x"),
        ("train", "digits", "--model", "lenet6"),
        ("train", "digts", "--model", "lenet5"),
        ("train", "digits", "--model", "lenet5", "--epochs", "0"),
        ("train", "--resume", "nowhere"),
        ("predict", "nowhere", "a.png"),
        ("frobnicate",),
    ],
    ids=" ".join,
)
def test_help_and_usage_errors_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not imported(run_until_exit(*arguments)) & HEAVY


def test_importing_striate_loads_none_of_its_parts() -> None:
    assert not imported("import striate") & (HEAVY | {"pydantic", "yaml", "typer"})


def test_building_a_network_needs_torch_and_no_more_of_what_is_heavy() -> None:
    loaded = imported("import striate\nstriate.create_model('lenet5')")
    assert "torch" in loaded
    assert not loaded & (HEAVY - {"torch", "numpy"})  # torch itself loads numpy.


def test_every_public_name_is_there() -> None:
    for name in striate.__all__:
        assert getattr(striate, name).__name__ == name
    with pytest.raises(AttributeError, match="frobnicate"):
        striate.frobnicate  # noqa: B018
