"""Charts of bytes, as SVG written out by hand: light enough for thousands of operators, exact enough to be measured.

matplotlib's drawings (`striate.reporting.figures`) cannot be asked what lies under the pointer; these can.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from striate.units import format_bytes

# Okabe and Ito's palette, which colour-blind people can tell apart, and two greys.
COLOURS = (
    "#0072b2",
    "#999999",
    "#f0e442",
    "#56b4e9",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#d55e00",
    "#444444",
    "#bbbbbb",
)
MOST_COLUMNS = 1500
WIDTH, HEIGHT = 960, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 880, 30, 340
FINENESS = 10_000  # of the heights, in parts of the axis
LETTER = 6.2  # width of a letter of 11 px


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of a run.

    Args:
        place: of the operator in the run, from 0.
        operator: its name.
        layer: whose it is; empty for the program itself.
        phase: of the program.
        by: bytes alive by what they are for.
        largest: the largest things alive, with their bytes.
    """

    place: int
    operator: str
    layer: str
    phase: str
    by: Mapping[str, int]
    largest: Sequence[tuple[str, int]]

    @property
    def size(self) -> int:
        """Bytes alive."""
        return sum(self.by.values())


def columns(sizes: Sequence[int], most: int = MOST_COLUMNS) -> list[int]:
    """Return which operators a chart shows: of each of at most ``most`` equal stretches the one with the most bytes.

    Column ``k`` of ``m`` stands for the operators from ``⌊k·n/m⌋`` on, up to where the next one begins.
    """
    ends = _edges(len(sizes), min(most, len(sizes)))
    return [max(range(first, last), key=lambda place: sizes[place]) for first, last in pairwise(ends)]


def colours(series: Sequence[str]) -> dict[str, str]:
    """Return a colour for each series, always the same for the same list."""
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(series)}


def timeline(steps: Sequence[Step], phases: Sequence[str], series: Sequence[str]) -> str:
    """Draw the bytes alive over a run as stacked areas, with what `striate.reporting.scripts` needs to point at them.

    Args:
        steps: one for each of `columns`.
        phases: of every operator of the run.
        series: what bytes may be for, from the bottom up; those that never occur are left out.
    """
    count, sizes = len(phases), [step.size for step in steps]
    highest = max(range(len(steps)), key=lambda place: sizes[place])
    scale = _Scale(max(sizes[highest], 1), count)
    parts = [*_grid(scale), _areas(steps, series, scale), *_bands(phases, scale), *_mark(steps[highest], scale)]
    label = f"bytes alive during {count:,} operators; the peak is {format_bytes(sizes[highest])}"
    return (
        f'<div class="timeline" tabindex="0" role="group" aria-label="{escape(label)}">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}'
        f'<path class="cursor" d="M0 {TOP}V{BOTTOM}" stroke="#000" stroke-width="1" visibility="hidden"/></svg>'
        f'{_legend(steps, series)}<div class="tip" role="status" hidden></div>'
        f'<script type="application/json">{_data(steps, count, highest)}</script></div>'
    )


def bars(rows: Sequence[tuple[str, Mapping[str, int]]], series: Sequence[str]) -> str:
    """Draw sums of bytes as bars on one scale, each made up of its parts.

    Args:
        rows: what each bar is, and its bytes by what they are for.
        series: what bytes may be for, from left to right.
    """
    paint, top = colours(series), max([1, *(sum(by.values()) for _, by in rows)])
    parts = []
    for row, (label, by) in enumerate(rows):
        y, x, size = 20 + 50 * row, 0.0, sum(by.values())
        parts.append(f'<text x="0" y="{y - 5}">{escape(label)}: {format_bytes(size)}</text>')
        for name in series:
            width = by.get(name, 0) / top * WIDTH
            if width:
                title = f"<title>{escape(name)}: {format_bytes(by[name])}</title>"
                parts.append(
                    f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="22" fill="{paint[name]}" '
                    f'data-series="{escape(name)}">{title}</rect>'
                )
            x += width
    label = "; ".join(f"{label}: {format_bytes(sum(by.values()))}" for label, by in rows)
    opening = f'<svg class="bars" viewBox="0 0 {WIDTH} {50 * len(rows)}" role="img" aria-label="{escape(label)}">'
    return f"{opening}{''.join(parts)}</svg>"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where operators and bytes lie in the drawing; the axis ends a little above the peak."""

    peak: int
    count: int

    @property
    def top(self) -> float:
        return self.peak * 1.08

    def x(self, place: float) -> float:
        return round(LEFT + place / self.count * (RIGHT - LEFT), 2)

    def y(self, size: float) -> float:
        return round(BOTTOM - size / self.top * (BOTTOM - TOP), 2)


def _edges(count: int, parts: int) -> list[int]:
    return [part * count // parts for part in range(parts + 1)]


def _areas(steps: Sequence[Step], series: Sequence[str], scale: _Scale) -> str:
    """Draw each series with all below it, the highest first, so that each next one covers what is not the last's."""
    edges, paint = _edges(scale.count, len(steps)), colours(series)
    heights = [0] * len(steps)
    paths: list[str] = []
    for name in series:
        shares = [step.by.get(name, 0) for step in steps]
        if not any(shares):
            continue
        heights = [height + share for height, share in zip(heights, shares, strict=True)]
        outline, level = "M0 0", 0
        for place, height in enumerate(heights):
            rounded = round(height / scale.top * FINENESS)
            if rounded != level:
                outline += f"H{edges[place]}V{rounded}" if place else f"V{rounded}"
                level = rounded
        paths.append(f'<path d="{outline}H{scale.count}V0Z" fill="{paint[name]}" data-series="{escape(name)}"/>')
    across, up = (RIGHT - LEFT) / scale.count, (BOTTOM - TOP) / FINENESS
    return (
        f'<g class="areas" data-top="{scale.top:.0f}" transform="translate({LEFT} {BOTTOM}) '
        f'scale({across:.8g} {-up:.8g})">{"".join(reversed(paths))}</g>'
    )


def _grid(scale: _Scale) -> list[str]:
    """Draw the axis of bytes: decimal units to the left, the same in binary units to the right."""
    step = next(
        size for power in range(30) for size in (10**power, 2 * 10**power, 5 * 10**power) if scale.top / size <= 6
    )
    parts = []
    for size in range(0, int(scale.top) + 1, step):
        y = scale.y(size)
        decimal, _, binary = format_bytes(size).rstrip(")").partition(" (")
        parts.append(
            f'<path d="M{LEFT} {y}H{RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{decimal}</text>'
            f'<text x="{RIGHT + 6}" y="{y + 4}">{binary}</text>'
        )
    return parts


def _bands(phases: Sequence[str], scale: _Scale) -> list[str]:
    """Mark the phases below the axis; a name that does not fit stands one line lower, or only in the band's title."""
    starts = [place for place, phase in enumerate(phases) if place == 0 or phase != phases[place - 1]]
    parts, free = [], 0.0
    for turn, (first, last) in enumerate(zip(starts, [*starts[1:], len(phases)], strict=True)):
        name, left, right = phases[first], scale.x(first), scale.x(last)
        fill = "#ddd" if turn % 2 else "#bbb"
        title = f"<title>{escape(name)}: operators {first + 1:,} to {last:,}</title>"
        parts.append(
            f'<rect x="{left}" y="{BOTTOM + 4}" width="{right - left:.2f}" height="8" fill="{fill}">{title}</rect>'
        )
        middle, half = (left + right) / 2, LETTER * len(name) / 2
        lower = 2 * half > right - left
        if lower and middle - half < free:
            continue
        if lower:
            free = middle + half + LETTER
            parts.append(f'<path d="M{middle:.2f} {BOTTOM + 14}v18" stroke="#999"/>')
        y = BOTTOM + (44 if lower else 26)
        parts.append(f'<text x="{middle:.2f}" y="{y}" text-anchor="middle">{escape(name)}</text>')
    return parts


def _mark(step: Step, scale: _Scale) -> list[str]:
    x, y = scale.x(step.place + 0.5), scale.y(step.size)
    anchor = "start" if x < WIDTH / 2 else "end"
    return [
        f'<path class="peak" d="M{x} {y - 1}l-5 -8h10z" fill="#222"/>'
        f'<text x="{x + (8 if anchor == "start" else -8):.2f}" y="{y - 5:.2f}" text-anchor="{anchor}">'
        f"peak: {format_bytes(step.size)}</text>"
    ]


def _legend(steps: Sequence[Step], series: Sequence[str]) -> str:
    paint = colours(series)
    shown = [name for name in reversed(series) if any(step.by.get(name) for step in steps)]
    keys = "".join(f'<li><span style="background:{paint[name]}"></span>{escape(name)}</li>' for name in shown)
    return f'<ul class="legend">{keys}</ul>'


def _data(steps: Sequence[Step], count: int, highest: int) -> str:
    """Return what the tooltips say, every word and every list of things once."""
    words: dict[str, int] = {}
    things: dict[tuple[str, int], int] = {}
    lists: dict[tuple[int, ...], int] = {}
    rows = []
    for step in steps:
        largest = tuple(things.setdefault((name, size), len(things)) for name, size in step.largest)
        said = (words.setdefault(word, len(words)) for word in (step.operator, step.layer, step.phase))
        rows.append([step.place, step.size, lists.setdefault(largest, len(lists)), *said])
    held = {"count": count, "peak": highest, "rows": rows, "words": [*words], "things": [*things], "lists": [*lists]}
    held |= {"left": LEFT, "right": RIGHT, "width": WIDTH}
    # A script ends at the first "</script", wherever that stands.
    return json.dumps(held, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
