"""Pages of the guide, done as they say."""

import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from boxed_scenes import write_voc
from photographs import write_folder
from scenes import write_scenes
from striate.data.embedded import load_digits

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str) -> list[str]:
    """Return a page's fenced blocks of one language; "" is output."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for found, text in fenced if found == language]


def write_copy(folder: Path) -> None:
    """Write a copy of the project with this environment in it, and data small enough to learn from in seconds."""
    ignored = shutil.ignore_patterns(".*", "runs", "__pycache__", "*.egg-info", "mnist")
    shutil.copytree(ROOT, folder, ignore=ignored)
    (folder / ".venv").symlink_to(sys.prefix)
    write_mnist(folder / "mnist")
    write_folder(folder / "flowers", {"train": 9, "val": 4})
    write_scenes(folder / "streets", {"train": 12, "val": 3, "test": 3})
    write_voc(folder / "cells", {"train": 12, "val": 3, "test": 3})
    for part in ("train", "val"):
        (folder / "flowers" / part / "red").rename(folder / "flowers" / part / "daisy")


def write_mnist(folder: Path) -> None:
    digits = load_digits()
    pixels, labels = digits.prepared(1, (28, 28), None).pixels()[:, 0].numpy(), digits.labels.byte().numpy()
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


def run_python(code: str, folder: Path) -> list[str]:
    (folder / "block.py").write_text(code, encoding="utf-8")
    return run("./.venv/bin/python block.py", folder).splitlines()
