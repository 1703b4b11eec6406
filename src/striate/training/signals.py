"""Signals that ask a run to stop, noted instead of obeyed at once."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def spoken(received: Sequence[str]) -> str:
    """Return what people call the first of some signals; where there is none, another process had it."""
    first = received[0] if received else "a signal to another process"
    return "Ctrl-C" if first == "SIGINT" else first


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Collect the names of SIGINT and SIGTERM as they come, instead of dying; a second one acts as it always does.

    Outside the main thread, where Python hands out no signals, the list stays empty.
    """
    received: list[str] = []
    previous: dict[signal.Signals, Any] = {}

    def note(number: int, _frame: object) -> None:
        received.append(signal.Signals(number).name)
        restore()

    def restore() -> None:
        for name, handler in previous.items():
            signal.signal(name, handler)

    try:
        for name in (signal.SIGINT, signal.SIGTERM):
            previous[name] = signal.signal(name, note)
    except ValueError:
        previous.clear()
    try:
        yield received
    finally:
        restore()
