"""Bars in the terminal for work that goes on."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from striate.counted import Counted

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


def show_counted(progress: Progress, bar: TaskID, record: Counted) -> None:
    """Move a bar to where the work is."""
    state = f"{record.done:,}/{record.total:,},"
    progress.update(bar, total=record.total, completed=record.done, description=record.what, state=state, visible=True)
