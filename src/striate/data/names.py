"""DATA as a user names it: a path if it exists, else an embedded set."""

from pathlib import Path

from striate.errors import UsageError, nearest

EMBEDDED = ("digits",)
MAX_PIXELS = 90_000_000  # An image of more is refused unless somebody allows it.


def find_data(data: str) -> Path | None:
    """Return the path that ``data`` names, or None for an embedded set.

    Raises:
        UsageError: where it is neither.
    """
    path = Path(data)
    if path.exists():
        return path
    if data in EMBEDDED:
        return None
    raise UsageError(
        expected="a folder of images, a CSV table, or the name of an embedded set",
        received=f"{data!r}, which is neither",
        remedy=f"{nearest(data, EMBEDDED)} A relative path counts from this folder: {Path.cwd()}.",
    )
