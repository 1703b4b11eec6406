"""Where the program begins: ``striate``, and ``python -m striate`` for launchers that start modules."""

import os
import signal
import sys


def main() -> None:
    """Run the command line; it ends with 0, with 1 for a job that failed, or with 2 for bad use."""
    signal.signal(signal.SIGINT, _stop_at_once)
    from striate.cli.main import run

    run()


def _stop_at_once(number: int, _frame: object) -> None:
    """End without a word: an exception in the middle of somebody's import would come out as something else.

    Work that has something to save takes the signal over (see ``striate.training.signals``).
    """
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # A progress bar hides the cursor.
        sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
