"""``striate runs``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.jobs.usage import check_page

if TYPE_CHECKING:
    from striate.jobs.runs import Run


def runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="folders with runs in them; runs by default", show_default=False)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="write a page that compares them", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """List runs, the best first: what each is worth, its time, its peak of memory and its plan."""
    check_page(html)

    from rich.console import Console

    from striate.cli.tables import aligned, say
    from striate.jobs.runs import HEADINGS, cells_of, find_runs, write_runs_page

    found = find_runs(folders or ["runs"])
    if html is not None:
        write_runs_page(html, found)
    if as_json:
        damaged = [{"run": str(path), "reason": reason} for path, reason in found.damaged]
        print(json.dumps({"runs": [_document(run) for run in found.runs], "damaged": damaged}, indent=2))
        return
    console = Console()
    columns = [(heading, heading in ("best", "time", "peak")) for heading in HEADINGS]
    for line in aligned(columns, map(cells_of, found.runs)):
        say(console, line)
    for path, reason in found.damaged:
        say(console, f"not readable: {path}: {reason}")
    if html is not None:
        say(console, f"page: {html}")


def _document(run: "Run") -> dict[str, Any]:
    return {
        "run": str(run.path),
        "config": run.config.model_dump(mode="json"),
        "epochs": list(run.rows),
        "metric": run.metric,
        "best": run.best,
        "seconds": run.seconds,
        "peak_bytes": run.peak,
        "plan": None if run.plan is None else run.plan.in_words(),
        "summary": None if run.summary is None else run.summary.model_dump(mode="json"),
    }
