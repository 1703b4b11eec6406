import base64
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from striate.reporting.figures import confusion_matrix, curves
from striate.reporting.page import Page
from striate.training.records import EpochRecord

RECORDS = [
    EpochRecord(
        epoch, 3, epoch * 5, 0.1, 1 / epoch, {"loss": 1.1 / epoch, "accuracy": 1 - 0.1 / epoch}, epoch == 2, 1, 9
    )
    for epoch in (1, 2, 3)
]


def test_text_is_escaped_and_pictures_come_back_as_they_were() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    page = Page("a <title>", "lead & more")
    page.heading("<h>")
    page.table(["<a>", "b"], [["<script>alert(1)</script>", 1234567], ["x", 0.12345]])
    page.pictures([(pixels, 'says "5"'), (pixels[:, :, :1], "grey")])
    page.code("a < b")
    html = page.html()
    assert "<script" not in html
    assert "1,234,567" in html
    assert "0.1235" in html
    assert "says &quot;5&quot;" in html
    colour, grey = (base64.b64decode(data) for data in re.findall(r'base64,([^"]+)"', html))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(colour))), pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(grey))), pixels[:, :, 0])


class Links(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "href")]


def test_a_page_with_figures_loads_nothing_from_anywhere() -> None:
    page = Page("t", "l")
    page.figure(curves(RECORDS))
    page.figure(confusion_matrix([[3, 1], [0, 2]], ["cat", "dog"]))
    links = Links()
    links.feed(page.html())
    assert all(link.startswith(("#", "data:")) for link in links.found)
    assert "@import" not in page.html()
    assert "url(http" not in page.html()


def test_figures_are_drawings_with_their_words() -> None:
    matrix = confusion_matrix([[30, 1], [0, 20]], ["cat", "dog"])
    for drawing in (curves(RECORDS), matrix):
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
    comments = re.findall(r"<!-- (.*?) -->", matrix)  # matplotlib names the text that it draws
    assert {"cat", "dog", "30", "1", "20", "taken for", "truly"} <= set(comments)
    assert "0" not in comments
