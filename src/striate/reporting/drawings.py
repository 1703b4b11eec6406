"""A network drawn as papers draw it: a block for each layer's maps, and what one unit of them sees of the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import sqrt

from striate.reporting.charts import COLOURS

COLUMN, FRAME = 84, 52  # px: width of a layer's column; the longer side of the image beside it
TALLEST, THICKEST, SLANT = 120, 34, 0.22  # px, px, and how far to the side a block's depth goes
BASE = 170  # where the blocks stand


@dataclass(frozen=True, slots=True)
class Maps:
    """What comes out of a layer, and what it sees.

    Args:
        name: of the layer.
        kind: of the layer.
        shape: of one image's output, channels x height x width.
        field: pixels that one unit sees, down and across.
        stride: pixels from what one unit sees to what the next one sees, down and across.
        offset: first pixel that the first unit sees, down and across; negative where that is padding.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    field: tuple[int, int]
    stride: tuple[float, float]
    offset: tuple[float, float]

    def seen(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the first pixel that the middle unit sees and the one after the last, down and across.

        The middle unit of n is the one numbered ``⌊n/2⌋`` from 0; what it sees may begin or end outside of the image.
        """
        down, across = (
            (start + side // 2 * stride, start + side // 2 * stride + size)
            for side, start, stride, size in zip(self.shape[1:], self.offset, self.stride, self.field, strict=True)
        )
        return down, across


def network(image: tuple[int, int, int], layers: Sequence[Maps]) -> str:
    """Draw a network's layers from left to right.

    Args:
        image: channels x height x width.
        layers: in the order in which they run.

    Heights go with the square root of the maps' heights, widths with that of the channels.
    """
    kinds = list(dict.fromkeys(layer.kind for layer in layers))
    paint = {kind: COLOURS[min(place, len(COLOURS) - 1)] for place, kind in enumerate(kinds)}
    whole = Maps("", "image", image, (1, 1), (1, 1), (0, 0))
    everything = [whole, *layers]
    scale = (
        THICKEST / sqrt(max(maps.shape[0] for maps in everything)),
        TALLEST / sqrt(max(max(maps.shape[1:]) for maps in everything)),
    )
    parts = [
        _column(place, maps, image, paint.get(maps.kind, "#ffffff"), scale, first=place == 0)
        for place, maps in enumerate(everything)
    ]
    width, height = COLUMN * len(everything), BASE + 46 + FRAME + 16
    label = f"{len(layers)} layers with maps, and what the middle unit of each sees of the image"
    return (
        f'<svg class="network" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )


def _column(
    place: int, maps: Maps, image: tuple[int, int, int], fill: str, scale: tuple[float, float], *, first: bool
) -> str:
    shape = "x".join(map(str, maps.shape))
    frame = _frame(maps, image) if not first else ""
    texts = [(_short(maps.kind), BASE + 16), (shape, BASE + 29)]
    if not first:
        texts.append((f"sees {_sides(maps.field)}", BASE + 46 + FRAME + 10))
    words = "".join(f'<text x="{COLUMN / 2:g}" y="{y}">{escape(text)}</text>' for text, y in texts)
    return (
        f'<g transform="translate({place * COLUMN} 0)"><title>{escape(_title(maps, image, first))}</title>'
        f"{_block(maps, fill, scale)}{words}{frame}</g>"
    )


def _block(maps: Maps, fill: str, scale: tuple[float, float]) -> str:
    """Draw a box: the channels wide, the maps high, and as deep as the maps are wide."""
    channels, height, width = maps.shape
    thick, tall = max(scale[0] * sqrt(channels), 2), max(scale[1] * sqrt(height), 2)
    deep = SLANT * max(scale[1] * sqrt(width), 2)
    x = (COLUMN - thick - deep) / 2
    top = BASE - tall
    faces = [
        (f"M{x:.1f} {top:.1f}h{thick:.1f}v{tall:.1f}h{-thick:.1f}z", 1.0),
        (f"M{x:.1f} {top:.1f}l{deep:.1f} {-deep:.1f}h{thick:.1f}l{-deep:.1f} {deep:.1f}z", 0.5),
        (f"M{x + thick:.1f} {top:.1f}l{deep:.1f} {-deep:.1f}v{tall:.1f}l{-deep:.1f} {deep:.1f}z", 0.75),
    ]
    return "".join(f'<path d="{path}" fill="{fill}" fill-opacity="{shade:g}"/>' for path, shade in faces)


def _frame(maps: Maps, image: tuple[int, int, int]) -> str:
    """Draw the image's frame and in it what the middle unit sees, as far as that lies inside."""
    _, height, width = image
    scale = FRAME / max(height, width)
    (top, bottom), (left, right) = (
        (min(max(first, 0), side), min(max(last, 0), side))
        for (first, last), side in zip(maps.seen(), (height, width), strict=True)
    )
    x, y = (COLUMN - scale * width) / 2, BASE + 42.0
    return (
        f'<rect class="frame" x="{x:.2f}" y="{y:.2f}" width="{scale * width:.2f}" height="{scale * height:.2f}"/>'
        f'<rect class="seen" x="{x + scale * left:.2f}" y="{y + scale * top:.2f}" '
        f'width="{scale * (right - left):.2f}" height="{scale * (bottom - top):.2f}"/>'
    )


def _title(maps: Maps, image: tuple[int, int, int], first: bool) -> str:
    shape = " x ".join(map(str, maps.shape))
    if first:
        return f"the image, {shape}"
    (top, bottom), (left, right) = maps.seen()
    beyond = top < 0 or left < 0 or bottom > image[1] or right > image[2]
    return (
        f"{maps.name or maps.kind}, {maps.kind}\noutput {shape}\n"
        f"one unit sees {_sides(maps.field)} pixels, the next one {_sides(maps.stride)} further\n"
        f"the middle one: rows {top:g} to {bottom - 1:g}, columns {left:g} to {right - 1:g}"
        f"{', beyond the image too' if beyond else ''}"
    )


def _sides(sides: tuple[float, float]) -> str:
    return f"{sides[0]:g}x{sides[1]:g}"


def _short(kind: str) -> str:
    return kind if len(kind) <= 14 else f"{kind[:13]}…"
