"""The page of what networks cost, read back as a browser reads it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import nn

import striate
from striate.errors import StriateError
from striate.jobs.cost import Cost
from striate.jobs.cost_page import write_cost_page
from striate.units import format_bytes

VOID = {"meta", "img", "br", "link"}
EVIL = "<script>alert(1)<!--script>&amp;"


class Read(HTMLParser):
    """Checks that tags are closed in order, and collects tables, scripts, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.seen: list[dict[str, float]] = []
        self.frames: list[dict[str, float]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._note(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._note(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.text += data
        if "th" in self.open or "td" in self.open:
            self.tables[-1][-1][-1] += data

    def _note(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = {name: value or "" for name, value in attributes}
        self.attributes += values.items()
        for name, found in (("seen", self.seen), ("frame", self.frames)):
            if values.get("class") == name:
                found.append({side: float(values[side]) for side in ("x", "y", "width", "height")})


def small() -> nn.Sequential:
    network = nn.Sequential()
    network.add_module("stem", nn.Conv2d(3, 4, 3, stride=2, padding=1))
    network.add_module(EVIL, nn.Conv2d(4, 8, (5, 3), padding=(2, 1)))
    network.add_module("pool", nn.MaxPool2d(2))
    network.add_module("flat", nn.Flatten())
    network.add_module("head", nn.Linear(8 * 8 * 6, 10))
    return network


def page(path: Path, *costs: tuple[str, Cost, int | None]) -> Read:
    write_cost_page(path, costs)
    read = Read(path.read_text(encoding="utf-8"))
    assert read.open == []
    return read


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_every_layer_stands_in_the_table_with_all_its_numbers(tmp_path: Path) -> None:
    found = striate.cost(small(), (3, 32, 24), batch_size=2, mode="training")
    head, *rows = page(tmp_path / "a.html", ("small", found, None)).tables[0]
    assert head == [
        *("layer", "kind", "output", "parameters", "multiply-adds", "backward"),
        *("bytes out", "bytes as columns, one image", "sees", "stride", "from", "arithmetic"),
    ]
    assert [row[0] for row in rows] == ["stem", EVIL, "pool", "flat", "head"]
    for row, layer in zip(rows, found.layers, strict=True):
        assert [number(cell) for cell in row[3:8]] == [
            *(layer.parameters, layer.macs, layer.backward_macs, layer.activation_bytes, layer.column_bytes)
        ]
        assert row[11] == str(layer.arithmetic)
    # By hand: 3·3·3·4·16·12·2 multiply-adds; 3·3·3 and 5·3·4 values, at 16·12 places; sides 3 + (5 - 1)·2 and
    # 3 + (3 - 1)·2 of the image.
    assert rows[0][:5] == ["stem", "Conv2d", "4x16x12", "112", "41,472"]
    assert [row[7] for row in rows] == ["20,736", "46,080", "0", "0", "0"]
    assert rows[0][8:11] == ["3", "2", "-1"]
    assert rows[1][8:11] == ["11 x 7", "2", "-5 x -3"]


def test_prediction_has_no_backward_column(tmp_path: Path) -> None:
    found = striate.cost(small(), (3, 32, 24))
    assert "backward" not in page(tmp_path / "a.html", ("small", found, None)).tables[0][0]


def test_the_page_says_without_a_script_what_the_peak_is_made_of(tmp_path: Path) -> None:
    found = striate.cost(small(), (3, 32, 24), batch_size=2, mode="training", optimizer="adam")
    read = page(tmp_path / "a.html", ("the program", found, found.peak.size * 2))
    assert f"Peak on the CPU: {format_bytes(found.peak.size)}, at " in read.text
    assert f"Measured: {format_bytes(found.peak.size * 2)}; predicted -50.000%." in read.text
    assert found.evaluation is not None
    assert f"between two steps takes {format_bytes(found.evaluation)}." in read.text
    shares = {row[0]: [number(cell) for cell in row[1:3]] for row in read.tables[1][1:]}
    assert {name: real for name, (_, real) in shares.items() if name != "together" and real} == dict(found.peak.by)
    for column, total in enumerate((found.textbook.total_bytes, found.peak.size)):
        assert sum(row[column] for row in shares.values()) == 2 * total
        assert shares["together"][column] == total
    largest = [(name, number(size)) for name, size in read.tables[2][1:]]
    assert largest[:2] == [("inputs", 2 * 3 * 32 * 24 * 4), ("head.weight", 384 * 10 * 4)]
    assert len(largest) == 5


def test_nothing_of_a_networks_names_becomes_html_and_nothing_is_loaded(tmp_path: Path) -> None:
    found = striate.cost(small(), (3, 32, 24), mode="training")
    read = page(tmp_path / "a.html", (EVIL, found, None))
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert read.tags.count("script") == 3  # ordering, pointing, and what it points at
    assert "<script>alert" not in text
    assert EVIL in read.text
    assert not {"link", "img", "iframe"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name in ("src", "href") or name.startswith("on")]
    assert not re.search(r"https?:|@import|url\(", text)


def test_what_the_middle_unit_sees_is_what_its_gradient_reaches(tmp_path: Path) -> None:
    network = small()
    found = striate.cost(network, (3, 32, 24))
    read = page(tmp_path / "a.html", ("small", found, None))
    assert len(read.seen) == 3  # those with maps
    for depth, (frame, seen) in enumerate(zip(read.frames, read.seen, strict=True), 1):
        image = torch.rand(1, 3, 32, 24, requires_grad=True)
        # The gradient of a largest value reaches one place, that of a mean all.
        layers = list(network)[:depth] if depth < 3 else [*list(network)[:2], nn.AvgPool2d(2)]
        maps = nn.Sequential(*layers)(image)
        maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
        assert image.grad is not None
        rows, columns = (image.grad.abs().sum((0, 1)).sum(side).nonzero().flatten().tolist() for side in (1, 0))
        scale = frame["height"] / 32
        drawn = [(seen[axis] - frame[axis]) / scale for axis in ("y", "x")]
        assert drawn == pytest.approx([rows[0], columns[0]], abs=0.02)
        sizes = [seen[side] / scale for side in ("height", "width")]
        assert sizes == pytest.approx([rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]], abs=0.02)


def test_a_network_without_images_has_no_drawing(tmp_path: Path) -> None:
    found = striate.cost(nn.Linear(100, 50), (100,), batch_size=8)
    read = page(tmp_path / "a.html", ("dense", found, None))
    assert "What its units see" not in read.text
    assert read.seen == []
    assert ("class", "timeline") in read.attributes


def test_several_networks_stand_side_by_side_and_each_by_itself(tmp_path: Path) -> None:
    first, second = striate.cost(small(), (3, 32, 24)), striate.cost(nn.Linear(100, 50), (100,))
    read = page(tmp_path / "a.html", ("first", first, None), ("second", second, 20_000))
    head, *rows = read.tables[0]
    assert [row[head.index("peak")] for row in rows] == [f"{found.peak.size:,}" for found in (first, second)]
    assert [row[head.index("measured")] for row in rows] == ["", "20,000"]
    assert [table[1][0] for table in read.tables if table[0][0] == "layer"] == ["stem", second.layers[0].name]
    assert "measured" not in page(tmp_path / "b.html", ("first", first, None), ("second", second, None)).tables[0][0]
    assert read.tags.count("h1") == 1
    assert read.tags.count("script") == 4  # each network's data, and the two scripts once


def test_the_same_network_gives_the_same_page(tmp_path: Path) -> None:
    for name in "ab":
        found = striate.cost(small(), (3, 32, 24), mode="training")
        write_cost_page(tmp_path / name, [("small", found, None)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    found = striate.cost(nn.Linear(4, 2), (4,))
    with pytest.raises(StriateError, match=f"to write {tmp_path}"):
        write_cost_page(tmp_path, [("dense", found, None)])
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))
