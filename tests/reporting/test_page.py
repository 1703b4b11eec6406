import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from striate.reporting.figures import calibration, confusion_matrix, curves, frontier, scatter
from striate.reporting.page import Page
from striate.reporting.scripts import SORTING
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
    peaks = frontier([(1.0, 300_000_000), (1.1, 200_000_000)], (1.05, 250_000_000), 260_000_000)
    for drawing in (curves(RECORDS), matrix, peaks):
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert {"cat", "dog", "30", "1", "20", "taken for", "truly"} <= words(matrix)
    assert "0" not in words(matrix)
    assert {"peak (MB)", "granted", "this plan"} <= words(peaks)


def words(drawing: str) -> set[str]:
    return {
        "".join(text.itertext()) for text in ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")
    }


def test_names_of_classes_are_drawn_as_they_are() -> None:
    names = ["$5", "a_b$", "<&>", "花"]
    assert set(names) <= words(confusion_matrix([[1, 0, 0, 0]] * 4, names))


def test_calibration_and_numbers_are_drawn() -> None:
    assert "share that is right" in words(calibration([(3, 0.9, 1.0), (1, 0.5, 0.0)]))
    assert {"true", "said"} <= words(scatter([1.0, 2.0], [1.5, 1.5]))


HEADINGS = ["name", "count", "share"]
ROWS = [["conv10", 1234567, ""], ["conv2", 15, 0.5], ["Add", 900, 0.25]]


def test_a_sortable_table_is_whole_without_its_script() -> None:
    plain, sortable = Page("t", "l"), Page("t", "l")
    plain.table(HEADINGS, ROWS)
    for _ in range(2):
        sortable.table(HEADINGS, ROWS, sortable=True)
    assert "<button" not in plain.html()
    assert "<script" not in plain.html()
    html = sortable.html()
    assert html.count("<script") == 1
    assert html.count('<th scope="col"><button type="button" disabled>name</button></th>') == 2
    assert html.count('<th scope="col" class="number"><button') == 4
    for cells in ROWS:
        for cell in cells:
            shown = f"{cell:,}" if isinstance(cell, int) else str(cell)
            assert f">{shown}</td>" in html


# As much of a browser's document as the script touches.
DOCUMENT = """
const table = JSON.parse(require("fs").readFileSync(0, "utf8"));
const rows = table.rows.map(cells => ({cells: cells.map(textContent => ({textContent}))}));
const heads = table.numbers.map(number => ({
  className: number ? "number" : "", attributes: {},
  button: {disabled: true, addEventListener(_, act) { this.click = act; }},
  querySelector() { return this.button; }, getAttribute(name) { return this.attributes[name] ?? null; },
  setAttribute(name, value) { this.attributes[name] = value; },
  removeAttribute(name) { delete this.attributes[name]; }}));
let shown = rows;
const body = {rows, append(...all) { shown = all; }};
const document = {querySelectorAll: () => [{tBodies: [body], tHead: {rows: [{cells: heads}]}}]};
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the script")
def test_a_click_orders_a_table_a_second_turns_it_round_a_third_restores_it() -> None:
    clicks = """
    const said = [];
    for (const column of [0, 0, 0, 1, 1, 2, 2, 0]) {
      heads[column].button.click();
      said.push([shown.map(row => row.cells[0].textContent), heads.map(head => head.getAttribute("aria-sort"))]);
    }
    console.log(JSON.stringify({said, disabled: heads.some(head => head.button.disabled)}));
    """
    rows = [["conv10", "1,234,567", ""], ["conv2", "15", "0.5"], ["Add", "900", "0.25"]]
    table = {"numbers": [False, True, True], "rows": rows}
    done = subprocess.run(
        ["node", "-e", DOCUMENT + SORTING + clicks],
        input=json.dumps(table),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    assert not found["disabled"]
    up, down = "ascending", "descending"
    assert found["said"] == [
        [["Add", "conv2", "conv10"], [up, None, None]],
        [["conv10", "conv2", "Add"], [down, None, None]],
        [["conv10", "conv2", "Add"], [None, None, None]],
        [["conv10", "Add", "conv2"], [None, down, None]],
        [["conv2", "Add", "conv10"], [None, up, None]],
        [["conv2", "Add", "conv10"], [None, None, down]],
        [["Add", "conv2", "conv10"], [None, None, up]],
        [["Add", "conv2", "conv10"], [up, None, None]],
    ]
