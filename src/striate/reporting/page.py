"""One HTML file that holds all it shows: no link, no network, and no script but a short one of its own.

What a script adds is comfort alone: without it everything is there to read.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.files import replace_file
from striate.reporting.pictures import to_image
from striate.reporting.scripts import SORTING

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top; }
th { font-weight: 600; } .number { text-align: right; }
.lead { color: #555; margin-top: .2rem; } svg { max-width: 100%; height: auto; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; width: 8rem; font-size: .8rem; }
figure img { width: 8rem; height: 8rem; object-fit: contain; image-rendering: pixelated; background: #eee; }
.wide { overflow-x: auto; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
body { background: #fff; } svg text { font: 11px system-ui, sans-serif; fill: #222; }
.wide svg { max-width: none; }
.broad { position: relative; left: 50%; transform: translateX(-50%); width: fit-content; max-width: 96vw;
  max-height: 75vh; overflow: auto; }
.sortable th { position: sticky; top: 0; background: #fff; white-space: nowrap; }
.sortable td { white-space: nowrap; } .sortable td.long { white-space: normal; min-width: 20rem; font-size: .85rem; }
.sortable button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
.sortable button:disabled { cursor: default; }
[aria-sort=ascending] button::after { content: " ▲"; } [aria-sort=descending] button::after { content: " ▼"; }
.timeline { position: relative; } .timeline svg { display: block; width: 100%; }
.tip { position: absolute; top: 2.5rem; background: #fff; border: 1px solid #888; padding: .4rem .6rem;
  font-size: .8rem; max-width: 26rem; overflow-wrap: anywhere; pointer-events: none; }
.tip .strong { font-weight: 600; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; font-size: .85rem; }
.legend span { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; }
.network text { font-size: 10px; text-anchor: middle; } .network path { stroke: #fff; stroke-width: .5; }
.network path[fill="#ffffff"] { stroke: #666; }
.frame { fill: #fff; stroke: #888; } .seen { fill: #d55e00; fill-opacity: .45; stroke: #d55e00; stroke-width: .7; }
@media print { .broad, .wide { max-height: none; overflow: visible; } }
"""
LONG = 60  # letters above which a cell's text may wrap
SMALL = 64  # pixels, up to which an image is kept to the last level

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
{script}</body>
</html>
"""


class Page:
    """A page that grows section by section; every text given is escaped."""

    def __init__(self, title: str, lead: str) -> None:
        self._title = title
        self._parts = [f"<h1>{escape(title)}</h1>", f'<p class="lead">{escape(lead)}</p>']
        self._scripts: dict[str, None] = {}

    def heading(self, text: str, level: int = 2) -> None:
        """Begin a section; one inside another has a higher level."""
        self._parts.append(f"<h{level}>{escape(text)}</h{level}>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def code(self, text: str) -> None:
        """Add text as it stands."""
        self._parts.append(f"<pre>{escape(text)}</pre>")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[object]], *, sortable: bool = False) -> None:
        """Add a table; numbers and percentages stand to the right, whole ones with commas.

        Where it is ``sortable``, a click on a heading orders the rows by that column, a second one the other way
        round, a third one as they were.
        """
        body = "".join("<tr>" + "".join(_cell(value, sortable) for value in row) + "</tr>" for row in rows)
        if not sortable:
            head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            self._parts.append(f'<div class="wide">{table}</div>')
            return
        head = "".join(
            _sorting_heading(heading, [row[column] for row in rows]) for column, heading in enumerate(headings)
        )
        table = f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        self._parts.append(f'<div class="broad" tabindex="0">{table}</div>')
        self.script(SORTING)

    def figure(self, svg: str, *, scrolls: bool = False) -> None:
        """Add a drawing made in ``striate.reporting``; one that ``scrolls`` keeps its size, however wide it is."""
        self._parts.append(f'<div class="wide" tabindex="0">{svg}</div>' if scrolls else f"<div>{svg}</div>")

    def script(self, text: str) -> None:
        """Have the page run one of ``striate.reporting.scripts``, once."""
        self._scripts[text] = None

    def pictures(self, pictures: Sequence[tuple[NDArray[np.uint8], str]]) -> None:
        """Add images, H x W x C with 1 or 3 channels, each with a caption; photographs lose a little."""
        shown = "".join(
            f'<figure><img alt="{escape(caption)}" src="{_data_url(pixels)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
            for pixels, caption in pictures
        )
        self._parts.append(f'<div class="pictures">{shown}</div>')

    def html(self) -> str:
        """Return the whole file."""
        script = "".join(f"<script>{text}</script>\n" for text in self._scripts)
        return TEMPLATE.format(title=escape(self._title), style=STYLE, body="\n".join(self._parts), script=script)

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            StriateError: where the file system refuses.
        """
        text = self.html()
        replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _sorting_heading(heading: str, cells: Sequence[object]) -> str:
    """Return a heading to click on, which the script enables; a column of numbers and empty cells is one of numbers."""
    kind = ' class="number"' if all(isinstance(cell, int | float) or cell == "" for cell in cells) else ""
    return f'<th scope="col"{kind}><button type="button" disabled>{escape(heading)}</button></th>'


def _cell(value: object, sortable: bool = False) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    if isinstance(value, float):
        return f'<td class="number">{value:.4g}</td>'
    kind = ' class="number"' if str(value).endswith("%") else ""
    if sortable and len(str(value)) > LONG:
        kind = ' class="long"'
    return f"<td{kind}>{escape(str(value))}</td>"


def _data_url(pixels: NDArray[np.uint8]) -> str:
    buffer, image = io.BytesIO(), to_image(pixels)
    kind = "jpeg" if max(image.size) > SMALL else "png"
    image.save(buffer, format=kind, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
