"""Bars in the terminal for work that goes on."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from striate.counted import Counted

Result = TypeVar("Result")

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.fields[state]}"),
    TimeElapsedColumn(),
    TextColumn("gone,"),
    TimeRemainingColumn(),
    TextColumn("left"),
)


def bars(console: Console) -> Progress:
    """Return bars of work that goes on, which leave nothing behind; none where nobody looks."""
    return Progress(*COLUMNS, console=console, transient=True, disable=not console.is_terminal)


def to_the_end(records: Iterable[Counted | Result], kind: type[Result]) -> Result:
    """Show how far work is, on standard error, and return what comes of it: its last record, of that kind."""
    found: Result | None = None
    with bars(Console(stderr=True)) as progress:
        bar = progress.add_task("", total=None, visible=False, state="")
        for record in records:
            if isinstance(record, kind):
                found = record
            else:
                assert isinstance(record, Counted)
                show_counted(progress, bar, record)
    assert found is not None
    return found


def show_counted(progress: Progress, bar: TaskID, record: Counted) -> None:
    """Move a bar to where the work is."""
    state = f"{record.done:,}/{record.total:,},"
    progress.update(bar, total=record.total, completed=record.done, description=record.what, state=state, visible=True)
