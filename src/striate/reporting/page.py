"""One HTML file that holds all it shows: no script, no link, no network."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top; }
th { font-weight: 600; } .number { text-align: right; }
.lead { color: #555; margin-top: .2rem; } svg { max-width: 100%; height: auto; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; width: 8rem; font-size: .8rem; }
figure img { width: 8rem; height: 8rem; object-fit: contain; image-rendering: pixelated; background: #eee; }
.wide { overflow-x: auto; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
"""

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
</body>
</html>
"""


class Page:
    """A page that grows section by section; every text given is escaped."""

    def __init__(self, title: str, lead: str) -> None:
        self._title = title
        self._parts = [f"<h1>{escape(title)}</h1>", f'<p class="lead">{escape(lead)}</p>']

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def code(self, text: str) -> None:
        """Add text as it stands."""
        self._parts.append(f"<pre>{escape(text)}</pre>")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table; numbers and percentages stand to the right, whole ones with commas."""
        head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
        body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        self._parts.append(f'<div class="wide">{table}</div>')

    def figure(self, svg: str) -> None:
        """Add a drawing made by ``striate.reporting.figures``."""
        self._parts.append(f"<div>{svg}</div>")

    def pictures(self, pictures: Sequence[tuple[NDArray[np.uint8], str]]) -> None:
        """Add images, H x W x C with 1 or 3 channels, each with a caption."""
        shown = "".join(
            f'<figure><img alt="{escape(caption)}" src="{_data_url(pixels)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
            for pixels, caption in pictures
        )
        self._parts.append(f'<div class="pictures">{shown}</div>')

    def html(self) -> str:
        """Return the whole file."""
        return TEMPLATE.format(title=escape(self._title), style=STYLE, body="\n".join(self._parts))


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    if isinstance(value, float):
        return f'<td class="number">{value:.4g}</td>'
    kind = ' class="number"' if str(value).endswith("%") else ""
    return f"<td{kind}>{escape(str(value))}</td>"


def _data_url(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
