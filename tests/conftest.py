"""What all tests share: shapes and types checked as they run, the real data, a way to call the program."""

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534

# What the program keeps for later, no test finds from an earlier one.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="striate-tests-")

# How long an example takes depends on what else the machine does; which ones are drawn depends on nothing.
settings.register_profile("striate", deadline=None, derandomize=True)
settings.load_profile("striate")

# Every annotation of a tensor in these packages is checked at each call.
CHECKED = [
    "striate.blocks",
    "striate.boxes",
    "striate.costing",
    "striate.data",
    "striate.detection",
    "striate.explanation",
    "striate.inference",
    "striate.jobs",
    "striate.reporting.boxes",
    "striate.reporting.masks",
    "striate.segmentation",
    "striate.style",
    "striate.suppression",
    "striate.training.task",
    "striate.training.tasks",
]
install_import_hook(CHECKED, "beartype.beartype")


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Find a folder of real data, or skip where this machine has none."""

    def find(name: str) -> Path:
        folder = ROOT.parent / "shared" / "data" / name
        if not folder.is_dir():
            pytest.skip(f"the real {name} data is not on this machine")
        return folder

    return find


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin with an empty CUDA card, on which 32-bit floats are not rounded, or skip where this machine has none."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA card on this machine")
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@contextmanager
def without_rights() -> Iterator[Path]:
    """Give a folder in which this process may not do everything, even where the superuser runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        is_superuser = os.geteuid() == 0
        if is_superuser:
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            if is_superuser:
                os.seteuid(0)
            for path in folder.rglob("*"):
                path.chmod(0o700)


class Done(NamedTuple):
    """How a call of the program ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the program in this process, in an empty folder: as a user does, but quicker."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        from striate.cli.main import run as main

        monkeypatch.setattr(sys, "argv", ["striate", *arguments])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture
def striate(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program as a user does, in an empty folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "striate", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project to do in what its pages say."""
    from pages import write_copy

    folder = tmp_path_factory.mktemp("copy") / "striate"
    write_copy(folder)
    yield folder
    (folder / ".venv").unlink()
