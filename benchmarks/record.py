"""Where measured figures are kept: a row for each finished run, with what is needed to measure it again."""

import csv
import datetime
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def commit() -> str:
    """The commit that is measured, marked where files of the program differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+changes" if git("status", "--porcelain", "src") else "")


def device() -> str:
    """What the figures were measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"


def resident() -> tuple[int, int]:
    """Return the bytes that the process has in memory now, and the most it ever had."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (1024 * int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return now, most


def read_rows(name: str) -> list[dict[str, str]]:
    """Return the rows of one benchmark so far."""
    path = RESULTS / f"{name}.csv"
    return rows_of(path) if path.exists() else []


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append_row(name: str, **figures: Any) -> None:
    """Add one finished run."""
    row = {
        "date": datetime.date.today().isoformat(),
        "device": device(),
        "torch": torch.__version__,
        "commit": commit(),
        "command": shlex.join(["python", *sys.argv]),
        **figures,
    }
    path = RESULTS / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = read_rows(name)
    names = list(dict.fromkeys([*(before[0] if before else ()), *row]))  # Figures are added in the course of time.
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=names, restval="")
        writer.writeheader()
        writer.writerows([*before, row])
