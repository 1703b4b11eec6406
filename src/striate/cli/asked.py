"""What ``striate predict`` is asked about images of any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The flags of the verb that count for every network which is run on images of any size."""

    run: Path
    images: Sequence[str]
    output: Path | None
    image_size: int | None
    memory: str | None
    limit: int | None
    skip_bad: bool
    max_pixels: int | None
    top: int
    as_json: bool
    as_lines: bool

    @property
    def options(self) -> dict[str, Any]:
        """Those that a job takes."""
        names = ("image_size", "memory", "limit", "skip_bad", "max_pixels")
        return {name: getattr(self, name) for name in names}
