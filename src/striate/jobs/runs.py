"""Runs found below a folder, side by side."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from striate.errors import StriateError, UsageError
from striate.planning.plan import Plan, read_plan
from striate.reporting.figures import courses
from striate.reporting.page import Page
from striate.training.config import FREE_ON_RESUME, TrainConfig
from striate.training.folder import RunFolder, Summary
from striate.training.records import HEADLINES
from striate.units import format_bytes, format_duration

DRAWN = 10  # Courses that one can tell apart.


@dataclass(frozen=True, slots=True)
class Run:
    """One run, finished or not.

    Args:
        path: of its folder.
        config: what was asked for.
        rows: of its epochs so far, as ``results.csv`` has them.
        plan: how a step is taken within a budget; None without one.
        summary: what came of it; None before its end.
    """

    path: Path
    config: TrainConfig
    rows: tuple[dict[str, float], ...]
    plan: Plan | None
    summary: Summary | None

    @property
    def metric(self) -> str:
        """The name of what it is judged by: a share, or the loss where there is none."""
        return next((name for name in HEADLINES if self.rows and f"val_{name}" in self.rows[0]), "loss")

    @property
    def best(self) -> float | None:
        """The validation's metric of its best epoch so far."""
        chosen = [row for row in self.rows if row["best"]]
        return chosen[-1][f"val_{self.metric}"] if chosen else None

    @property
    def seconds(self) -> float:
        """What its epochs took so far."""
        return sum((row["seconds"] for row in self.rows), start=0.0)

    @property
    def peak(self) -> int | None:
        """Bytes that a training step took; None where nobody measured it."""
        return None if self.summary is None else self.summary.peaks.get("training")


@dataclass(frozen=True, slots=True)
class Found:
    """What there is below some folders.

    Args:
        runs: the best ones first.
        damaged: folders of runs that cannot be read, with the reason.
    """

    runs: tuple[Run, ...]
    damaged: tuple[tuple[Path, str], ...]


def find_runs(roots: Sequence[str | Path]) -> Found:
    """Find runs.

    Args:
        roots: folders of runs, or with runs somewhere below them.

    Raises:
        UsageError: for a folder that is not there, or holds none.
    """
    for root in map(Path, roots):
        if not root.is_dir():
            raise UsageError(
                expected="a folder with runs in it",
                received=str(root),
                remedy="`striate train` makes runs/ and fills it.",
            )
    runs, damaged = [], []
    for path in sorted({args.parent for args in chain.from_iterable(Path(root).rglob("args.yaml") for root in roots)}):
        try:
            runs.append(_read(RunFolder(path)))
        except (StriateError, OSError, ValueError, TypeError) as error:
            reason = error.received if isinstance(error, StriateError) else str(error)
            damaged.append((path, " ".join(reason.split())))
    if not runs and not damaged:
        raise UsageError(
            expected=f"runs in {', '.join(map(str, roots))}", received="none", remedy="Name the folder that holds them."
        )

    def rank(run: Run) -> tuple[bool, str, float]:
        value = run.best
        return value is None, run.metric, 0.0 if value is None else value if run.metric == "loss" else -value

    return Found(tuple(sorted(runs, key=rank)), tuple(damaged))


def _read(folder: RunFolder) -> Run:
    rows: list[dict[str, float]] = []
    if folder.results.is_file():
        with folder.results.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    missing = {name for row in rows for name in ("epoch", "best", "seconds") if name not in row}
    if any(not {f"val_{name}" for name in (*HEADLINES, "loss")} & row.keys() for row in rows):
        missing.add("val_loss")
    if missing:
        raise ValueError(f"{folder.results.name} without {', '.join(sorted(missing))}")
    plan = read_plan(folder.plan) if folder.plan.is_file() else None
    return Run(folder.path, folder.config(), tuple(rows), plan, folder.read_summary())


HEADINGS = ("run", "network", "data", "best", "tested", "epochs", "time", "peak", "plan")


def cells_of(run: Run) -> tuple[str, ...]:
    """Return a run's row under `HEADINGS`."""
    tested = "" if run.summary is None else f"{run.summary.part} {_share(run.metric, run.summary.metrics[run.metric])}"
    return (
        str(run.path),
        run.config.model,
        Path(run.config.data).name,
        "-" if run.best is None else _share(run.metric, run.best),
        tested or "-",
        f"{int(run.rows[-1]['epoch']) if run.rows else 0}/{run.config.epochs}",
        format_duration(run.seconds) if run.rows else "-",
        "-" if run.peak is None else format_bytes(run.peak).partition(" (")[0],
        "-" if run.plan is None else run.plan.in_words().partition(": ")[0],
    )


def _share(metric: str, value: float) -> str:
    return f"{value:.2%}" if metric in HEADLINES else f"loss {value:.4g}"


def differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the settings that are not the same in all runs, with each run's value."""
    settings: list[dict[str, Any]] = [run.config.model_dump(mode="json") for run in runs]
    names = [name for name in TrainConfig.model_fields if name not in FREE_ON_RESUME or name == "data"]
    values = {name: [_spell(name, each[name]) for each in settings] for name in names}
    return {name: each for name, each in values.items() if len(set(each)) > 1}


def _spell(name: str, value: Any) -> str:
    """Say a setting as the flags' help does."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_spell(key, each)}" for key, each in value.items()) or "-"
    if isinstance(value, list):
        return ("x" if name == "image_size" else ", ").join(_spell(name, each) for each in value) or "-"
    return str(value)


def write_runs_page(path: Path, found: Found) -> None:
    """Write the runs as one page: what each is worth, its course, and what was asked differently."""
    page = Page("Runs", f"{len(found.runs)} runs, the best on its validation images first")
    page.table(HEADINGS, [cells_of(run) for run in found.runs], sortable=True)
    for metric, runs in _by_metric(found.runs):
        page.heading(f"Validation {metric} by epoch")
        page.figure(courses({str(run.path): _course(run) for run in runs[:DRAWN]}, metric))
        if len(runs) > DRAWN:
            page.text(f"The best {DRAWN} of {len(runs)}.")
    others = differing(found.runs)
    if others:
        page.heading("What was asked differently")
        rows = [(str(run.path), *(each[place] for each in others.values())) for place, run in enumerate(found.runs)]
        page.table(["run", *others], rows, sortable=True)
    if found.damaged:
        page.heading("Not readable")
        page.table(["folder", "why"], [(str(folder), why) for folder, why in found.damaged])
    page.write(path)


def _by_metric(runs: Sequence[Run]) -> Iterator[tuple[str, list[Run]]]:
    for metric in dict.fromkeys(run.metric for run in runs if run.rows):
        yield metric, [run for run in runs if run.rows and run.metric == metric]


def _course(run: Run) -> list[tuple[float, float]]:
    return [(row["epoch"], row[f"val_{run.metric}"]) for row in run.rows]
