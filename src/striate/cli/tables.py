"""Tables and pictures for the terminal."""

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from striate.costing.layers import LayerCost

RAMP = " .:-=+*#%@"
HEADING = 16  # Letters of a heading in one line, where what is below it is no wider.


def say(console: Console, text: str) -> None:
    """Print one line as it is: no colours guessed, no breaks put in."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def plain_table(title: str | None, columns: Sequence[tuple[str, bool]]) -> Table:
    """Return an empty table; each column has a heading and says whether its cells are numbers."""
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0)
    )
    for heading, numbers in columns:
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    return table


def fill(table: Table, *cells: str) -> None:
    """Add a row of text as it is: brackets in a name are brackets."""
    table.add_row(*map(Text, cells))


def aligned(columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table as lines that are as wide as they have to be, so that names and paths stay whole.

    Headings that are wider than all below them are broken into lines.

    Args:
        columns: each one's heading, and whether its cells are numbers.
        rows: cells.

    >>> for line in aligned([("way", False), ("accuracy on others", True)], [["one", "98 %"], ["another", "7 %"]]):
    ...     print(line)
             accuracy on
    way           others
    one             98 %
    another          7 %
    """
    cells = [list(row) for row in rows]
    widest = [max((len(row[place]) for row in cells), default=0) for place in range(len(columns))]
    headings = [
        wrap(text, max(width, HEADING), break_long_words=False, break_on_hyphens=False)
        for (text, _), width in zip(columns, widest, strict=True)
    ]
    height = max(map(len, headings))
    above = [list(line) for line in zip(*([""] * (height - len(each)) + each for each in headings), strict=True)]
    lines = [*above, *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if numbers else cell.ljust(width)
            for cell, width, (_, numbers) in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    ]


def network_lines(layers: "Sequence[LayerCost]") -> list[str]:
    """Return a network's layers: what comes out of each, and how its parameters come about."""
    return aligned(
        [("layer", False), ("kind", False), ("output", False), ("parameters", True)],
        [
            [
                layer.name,
                layer.kind,
                "x".join(str(side) for side in layer.output_shape),
                layer.arithmetic.parameters or "0",
            ]
            for layer in layers
        ],
    )


def draw(pixels: "NDArray[np.uint8]", rows: int = 12) -> str:
    """Draw one image, H x W x C, as ``rows`` or fewer lines of characters, light on dark."""
    import torch

    grey = torch.from_numpy(pixels).float().mean(2)
    height, width = grey.shape
    lines = min(rows, height)
    columns = max(1, round(width * lines / height))
    from torch.nn.functional import adaptive_avg_pool2d

    small = adaptive_avg_pool2d(grey[None, None], (lines, columns))[0, 0]
    levels = (small / 256 * len(RAMP)).long().tolist()
    return "\n".join("".join(RAMP[level] * 2 for level in line) for line in levels)
