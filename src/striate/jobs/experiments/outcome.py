"""What an experiment says of itself and of what came of it: a table, perhaps curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from striate.counted import Counted

Cell = str | int | float


class Trying(Counted):
    """Steps of all that is compared are taken."""

    what = "steps of the experiment"


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves that belong together.

    Args:
        title: what they show.
        across: what goes from left to right.
        up: what goes from below.
        curves: points, by the name of what they are of.
        log: whether what goes up is drawn on a scale of factors.
    """

    title: str
    across: str
    up: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    log: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an experiment.

    Args:
        title: the question.
        setting: what was done, in words.
        headings: of the table's columns.
        rows: of the table, one for each way; the first cell is its name.
        charts: beside it.
    """

    title: str
    setting: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    charts: tuple[Chart, ...] = field(default=())
