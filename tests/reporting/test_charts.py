"""Charts measured as they are drawn: lengths and areas against the bytes that they stand for."""

import json
import random
import re
import shutil
import subprocess
from itertools import pairwise
from math import sqrt
from xml.etree import ElementTree

import pytest

from striate.reporting.charts import Step, bars, colours, columns, timeline
from striate.reporting.drawings import Maps, network
from striate.reporting.scripts import POINTING

SERIES = ["parameters", "inputs", "saved", "never", "inside"]


def run(count: int, most: int = 1500) -> tuple[list[dict[str, int]], list[Step]]:
    """Return what a made-up run holds at each operator, and the steps that are drawn of it."""
    random.seed(count)
    held = [
        {"parameters": 4_000_000, "saved": random.randrange(9_000_000), "inputs": 1000 + place}
        | ({"inside": random.randrange(1, 3_000_000)} if place % 3 == 0 else {})
        for place in range(count)
    ]
    steps = [
        Step(place, f"op{place % 7}", "a<b", "forward", held[place], [("w</script><b>", 5_000), (f"t{place}", 40)])
        for place in columns([sum(by.values()) for by in held], most)
    ]
    return held, steps


def drawing(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup[markup.index("<svg") : markup.index("</svg>") + len("</svg>")])


def area(path: str) -> int:
    """Return the area under an outline of horizontal and vertical lines that begins at the origin."""
    x = y = total = 0
    assert path.startswith("M0 0")
    for letter, number in re.findall(r"([HV])(\d+)", path):
        if letter == "H":
            total += y * (int(number) - x)
            x = int(number)
        else:
            y = int(number)
    return total


@pytest.mark.parametrize(("count", "most"), [(1, 5), (5, 5), (7, 5), (4321, 1500)])
def test_columns_are_the_highest_of_each_stretch(count: int, most: int) -> None:
    random.seed(0)
    sizes = [random.randrange(1000) for _ in range(count)]
    found = columns(sizes, most)
    assert len(found) == min(count, most)
    assert max(sizes) in [sizes[place] for place in found]
    ends = [part * count // len(found) for part in range(len(found) + 1)]
    assert [sizes[place] for place in found] == [max(sizes[a:b]) for a, b in pairwise(ends)]


@pytest.mark.parametrize("count", [1, 40, 3001])
def test_areas_are_proportional_to_bytes(count: int) -> None:
    held, steps = run(count)
    chart = drawing(timeline(steps, ["forward"] * count, SERIES))
    areas = next(part for part in chart.iter() if part.get("class") == "areas")
    paths = {path.attrib["data-series"]: path.attrib["d"] for path in areas}
    order = [name for name in SERIES if any(name in by for by in held)]
    assert list(paths) == order[::-1]  # what is drawn first is covered by what follows
    covered = [0, *(area(paths[name]) for name in order)]
    ends = [part * count // len(steps) for part in range(len(steps) + 1)]
    top = int(areas.attrib["data-top"])
    for name, low, high in zip(order, covered, covered[1:], strict=False):
        byte_operators = sum(step.by.get(name, 0) * (b - a) for step, (a, b) in zip(steps, pairwise(ends), strict=True))
        assert (high - low) / 10_000 * top == pytest.approx(byte_operators, abs=count * top / 10_000)


def test_the_axis_and_the_peak_lie_where_the_areas_say() -> None:
    held, steps = run(60)
    chart = drawing(timeline(steps, ["forward"] * 60, SERIES))
    areas = next(part for part in chart.iter() if part.get("class") == "areas")
    x0, y0, wide, high = map(float, re.findall(r"-?[\d.]+", areas.attrib["transform"]))
    top = int(areas.attrib["data-top"])
    sizes = [sum(by.values()) for by in held]
    peak = next(part for part in chart.iter() if part.get("class") == "peak")
    x, y = map(float, re.findall(r"[\d.]+", peak.attrib["d"])[:2])
    assert x == pytest.approx(x0 + wide * (sizes.index(max(sizes)) + 0.5), abs=0.02)
    assert y == pytest.approx(y0 + high * 10_000 * max(sizes) / top, abs=1.1)
    labels = {text.text or "": float(text.attrib["y"]) - 4 for text in chart.iter("text")}
    assert labels["5.00 MB"] == labels["4.77 MiB"] == pytest.approx(y0 + high * 10_000 * 5e6 / top, abs=0.02)


def test_phases_are_marked_where_they_run_and_the_short_ones_too() -> None:
    _, steps = run(500)
    phases = ["forward"] * 200 + ["loss"] * 2 + ["backward"] * 298
    chart = drawing(timeline(steps, phases, SERIES))
    titles = {title.text: rect for rect in chart.iter("rect") for title in rect}
    assert list(titles) == [
        "forward: operators 1 to 200",
        "loss: operators 201 to 202",
        "backward: operators 203 to 500",
    ]
    widths = [float(rect.attrib["width"]) for rect in titles.values()]
    assert widths == pytest.approx([200 * 810 / 500, 2 * 810 / 500, 298 * 810 / 500], abs=0.02)
    assert {"forward", "loss", "backward"} <= {text.text for text in chart.iter("text")}


def held_data(markup: str) -> str:
    return markup.partition('<script type="application/json">')[2].partition("</script>")[0]


def test_what_tooltips_say_is_all_there_and_cannot_end_the_script() -> None:
    _, steps = run(100, most=30)
    markup = timeline(steps, ["forward"] * 100, SERIES)
    assert markup.count("<script") == markup.count("</script") == 1
    data = json.loads(held_data(markup))
    for step, (place, size, largest, *words) in zip(steps, data["rows"], strict=True):
        assert (place, size) == (step.place, step.size)
        assert [data["words"][word] for word in words] == [step.operator, step.layer, step.phase]
        assert [tuple(data["things"][thing]) for thing in data["lists"][largest]] == step.largest
    assert data["rows"][data["peak"]][1] == max(step.size for step in steps)


def test_bars_are_as_long_as_their_bytes_and_on_one_scale() -> None:
    rows = [("a & b", {"parameters": 300, "inputs": 100}), ("c", {"parameters": 300, "inside": 500})]
    chart = drawing(bars(rows, SERIES))
    found = [
        (rect.attrib["data-series"], float(rect.attrib["x"]), float(rect.attrib["width"]), rect.attrib["fill"])
        for rect in chart.iter("rect")
    ]
    paint = colours(SERIES)
    assert [name for name, *_ in found] == ["parameters", "inputs", "parameters", "inside"]
    assert [x for _, x, _, _ in found] == [0, 360, 0, 360]
    assert [width for _, _, width, _ in found] == [360, 120, 360, 600]
    assert [fill for *_, fill in found] == [paint[name] for name, *_ in found]
    assert [text.text for text in chart.iter("text")] == ["a & b: 400 bytes", "c: 800 bytes"]


def test_blocks_are_as_high_and_wide_as_their_maps() -> None:
    layers = [
        Maps("one", "Conv2d", (16, 32, 32), (3, 3), (1, 1), (-1, -1)),
        Maps("two", "Conv2d", (64, 8, 8), (40, 40), (4, 4), (-18, -18)),
    ]
    chart = drawing(network((1, 32, 32), layers))
    fronts = [re.findall(r"[hv](-?[\d.]+)", next(group.iter("path")).attrib["d"])[:2] for group in chart.iter("g")]
    sizes = [(float(thick), float(tall)) for thick, tall in fronts]
    assert sizes[1][1] == sizes[0][1] == pytest.approx(sizes[2][1] * 2, abs=0.2)
    assert sizes[2][0] == pytest.approx(sizes[1][0] * sqrt(64 / 16), abs=0.2)


def test_what_the_middle_unit_sees_is_cut_off_at_the_image() -> None:
    maps = Maps("<b>", "Conv2d", (4, 8, 4), (20, 40), (4, 4), (-8, -18))
    chart = drawing(network((3, 32, 16), [maps]))
    frame, seen = (
        next(part for part in chart.iter("rect") if part.get("class") == name).attrib for name in ("frame", "seen")
    )
    scale = float(frame["height"]) / 32
    assert float(frame["width"]) == pytest.approx(16 * scale)
    # Down, unit 4 of 8 sees rows 4·4 - 8 = 8 to 27; across, unit 2 of 4 sees columns 2·4 - 18 = -10 to 29.
    assert (float(seen["y"]) - float(frame["y"])) / scale == pytest.approx(8, abs=0.02)
    assert float(seen["height"]) / scale == pytest.approx(20, abs=0.02)
    assert float(seen["x"]) == float(frame["x"])
    assert float(seen["width"]) == float(frame["width"])
    titles = [title.text or "" for title in chart.iter("title")]
    assert titles[0] == "the image, 3 x 32 x 16"
    assert titles[1].startswith("<b>, Conv2d\noutput 4 x 8 x 4\n")
    assert titles[1].endswith("rows 8 to 27, columns -10 to 29, beyond the image too")


# As much of a browser's document as the script touches.
DOCUMENT = """
const made = () => ({style: {}, lines: [], attributes: {}, heard: {}, hidden: true, offsetWidth: 200,
  clientWidth: 960, append(line) { this.lines.push(line.textContent); }, replaceChildren() { this.lines = []; },
  setAttribute(name, value) { this.attributes[name] = value; },
  addEventListener(name, act) { this.heard[name] = act; },
  getBoundingClientRect: () => ({left: 100, width: 480})});
const tip = made(), cursor = made(), svg = Object.assign(made(), {querySelector: () => cursor});
const parts = {svg, ".tip": tip, script: {textContent: require("fs").readFileSync(0, "utf8")}};
const chart = Object.assign(made(), {querySelector: name => parts[name]});
const document = {querySelectorAll: () => [chart], createElement: made};
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the script")
def test_pointing_finds_the_column_below_and_keys_walk_along() -> None:
    held, steps = run(100, most=30)
    data = held_data(timeline(steps, ["forward"] * 100, SERIES))
    asks = """
    const said = [];
    const tell = () => said.push(tip.hidden ? null : tip.lines);
    for (let place = 0; place < 100; place++) {
      // The drawing stands 100 px from the left at half its size.
      svg.heard.pointermove({clientX: 100 + (70 + (place + .5) * 8.1) / 2}); tell();
    }
    for (const key of ["Home", "ArrowLeft", "ArrowRight", "End"]) {
      chart.heard.keydown({key, preventDefault() {}}); tell();
    }
    svg.heard.pointerleave(); tell();
    svg.heard.pointermove({clientX: 101}); tell();
    console.log(JSON.stringify(said));
    """
    done = subprocess.run(
        ["node", "-e", DOCUMENT + POINTING + asks], input=data, capture_output=True, text=True, timeout=60, check=True
    )
    said = json.loads(done.stdout)
    ends = [part * 100 // 30 for part in range(31)]
    below = [
        next(step for step, (a, b) in zip(steps, pairwise(ends), strict=True) if a <= place < b) for place in range(100)
    ]
    walked = [steps[0], steps[0], steps[1], steps[-1]]
    assert said[104:] == [None, None]
    for lines, step in zip(said[:104], below + walked, strict=True):
        assert lines[:3] == [step.operator, "a<b", f"forward, operator {step.place + 1} of 100"]
        assert lines[3].startswith(f"{sum(held[step.place].values()) / 1e6:.2f} MB (")
        assert lines[4:] == ["w</script><b>: 5.00 kB (4.88 KiB)", f"t{step.place}: 40 bytes"]
