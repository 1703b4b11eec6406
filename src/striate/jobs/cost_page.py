"""What networks cost, as one page."""

from collections.abc import Sequence
from pathlib import Path

from striate.jobs.cost import Cost


def write_cost_page(path: Path, costs: Sequence[tuple[str, Cost, int | None]]) -> None:
    """Write one self-contained page.

    Args:
        path: of the file.
        costs: for each network what it is and how it is run, what that costs, and the bytes measured if they were.
    """
