"""What a network makes of an image, as pictures, in words and on a page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from jaxtyping import UInt8

from striate.explanation.points import layer_title
from striate.files import unlike
from striate.jobs.explaining import Explained
from striate.reporting.figures import lines
from striate.reporting.insides import draw_field, draw_filter, draw_map, draw_saliency, enlarged
from striate.reporting.page import Page
from striate.reporting.pictures import write_png

TOP = 5
LARGE = 224  # Pixels of the longer side of a picture in a file, as far as repeating its pixels brings it.
CHANCE = "by chance"
NOTHING = "nothing speaks for it"
FRESH = "its weights are fresh, so that what it says means nothing"
UNKNOWN = "striate does not know whether its weights were learned; if not, what it says means nothing"
BACKBONE = "of its backbone, since the rest of it is shown more than an image"


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture.

    Args:
        name: for a file.
        caption: for people.
        pixels: of it.
    """

    name: str
    caption: str
    pixels: UInt8[np.ndarray, "h w c"]


def why_pictures(found: Explained) -> list[Shown]:
    """Return what speaks for the class, painted over the image."""
    return [
        Shown(each.way.split()[0].lower(), each.way, draw_saliency(found.pixels, each.saliency)) for each in found.why
    ]


def field_pictures(found: Explained) -> list[Shown]:
    """Return what the middle unit of each layer sees."""
    return [
        Shown(
            f"field-{layer_title(each.name)}",
            f"{layer_title(each.name)}: sees {_sides(each.rows.size, each.columns.size)}, most of it {each.effective} "
            "wide",
            draw_field(found.pixels, each.energy, each.rows, each.columns, each.effective),
        )
        for each in found.layers
    ]


def map_pictures(found: Explained) -> Iterator[tuple[str, list[Shown], list[Shown]]]:
    """Yield each layer in words, its strongest maps, and those that are most different."""
    for layer in found.layers:
        drawn = {
            channel: Shown(f"map-{layer_title(layer.name)}-{channel}", f"map {channel}", draw_map(values))
            for channel, values in layer.maps.items()
        }
        channels, height, width = layer.shape
        title = f"{layer_title(layer.name)}: {channels} maps of {_sides(height, width)}"
        yield title, [drawn[each] for each in layer.strongest], [drawn[each] for each in layer.different]


def filter_pictures(found: Explained) -> list[Shown]:
    """Return the filters of the first convolution."""
    filters = () if found.filters is None else found.filters
    return [Shown(f"filter-{place}", f"filter {place}", draw_filter(weights)) for place, weights in enumerate(filters)]


def answer_pictures(found: Explained) -> list[Shown]:
    """Return the parts of images that a filter answers to most."""
    answers = found.answers
    strongest = () if answers is None else answers.strongest
    return [
        Shown(f"answer-{place}", f"{Path(each.source).name}: {each.value:.3g}", each.pixels)
        for place, each in enumerate(strongest, 1)
    ]


def write_pictures(folder: Path, found: Explained) -> int:
    """Write all pictures as PNG files, small ones with each pixel repeated; return how many there are."""
    shown = [*why_pictures(found), *field_pictures(found), *filter_pictures(found), *answer_pictures(found)]
    for _, strong, different in map_pictures(found):
        shown += {each.name: each for each in (*strong, *different)}.values()
    taken = set[str]()
    for each in shown:
        write_png(folder / f"{unlike(each.name, taken)}.png", enlarged(each.pixels, LARGE))
    return len(shown)


def in_words(found: Explained) -> list[str]:
    """Say what a network makes of an image."""
    said = []
    if found.result is not None:
        classes = "  ".join(f"{name} {share:.2%}" for name, share in found.result.top(TOP))
        said.append(f"{found.source}  {classes}")
    said += [f"note: {note}" for note in _notes(found)]
    said += [
        f"{each.way}: {NOTHING}"
        if each.area is None
        else f"{each.way}: with what it points at gone first, {found.label} is {each.area:.3f} probable in the mean, "
        f"{_verdict(each.area, found.chance_areas)}"
        for each in found.why
    ]
    if found.chance:
        least, *_, most = found.chance_areas
        said.append(f"{CHANCE}, {mean(found.chance_areas):.3f}, from {least:.3f} to {most:.3f}")
    said += [
        f"{layer_title(each.name)}: a unit sees {_sides(each.rows.size, each.columns.size)} pixels; "
        f"{each.effective} x {each.effective} hold 95 % of what matters to the middle one"
        for each in found.layers
    ]
    if found.answers is not None:
        said += [
            f"filter {found.answers.channel} of {layer_title(found.answers.layer)}: {each.value:.3g} at row "
            f"{each.unit[0]}, column {each.unit[1]} of {each.source}"
            for each in found.answers.strongest
        ]
    return said


def write_explained_page(path: Path, found: Explained) -> None:
    """Write what a network makes of an image as one page."""
    page = Page(f"What {found.model} makes of {Path(found.source).name}", _lead(found))
    page.pictures([(found.pixels, "as the network sees it")])
    if found.result is not None:
        page.table(["class", "probability"], [(name, f"{share:.2%}") for name, share in found.result.top(TOP)])
    if found.why:
        _why(page, found)
    if found.layers:
        page.heading("What a unit sees")
        page.text(
            "The middle unit of each layer. The blue frame holds all that could matter to it, as windows and strides "
            "have it; colours say how much each pixel does matter, by the gradient, and the yellow frame holds 95 % of "
            "that. Each window widens the field by what lies between two units, so that pooling and strides, which "
            "move units apart, widen it for all layers behind."
        )
        _pictures(page, field_pictures(found))
        page.table(
            ["layer", "row x column", "sees, in theory", "holds 95 % of what matters"],
            [
                (
                    layer_title(each.name),
                    _sides(*each.unit),
                    _sides(each.rows.size, each.columns.size),
                    each.effective,
                )
                for each in found.layers
            ],
        )
    if found.layers:
        page.heading("Feature maps")
        page.text("Each from its least value, black, to its largest, white: the strongest, then those least alike.")
        for title, strong, different in map_pictures(found):
            page.heading(title, 3)
            _pictures(page, strong)
            page.text("least alike:")
            _pictures(page, different)
    if found.answers is not None:
        page.heading(f"What filter {found.answers.channel} of {layer_title(found.answers.layer)} answers to most")
        page.text(f"Of {found.answers.images:,} images, what the unit sees that answers most, as far as it is in them.")
        _pictures(page, answer_pictures(found))
    filters = filter_pictures(found)
    if filters:
        page.heading("Filters of the first convolution")
        page.text("Middle grey is 0.")
        _pictures(page, filters)
    page.write(path)


def _lead(found: Explained) -> str:
    return "; ".join([f"Images of {_sides(*found.pixels.shape[:2])}", *_notes(found)])


def _notes(found: Explained) -> list[str]:
    notes = [BACKBONE] if found.is_backbone else []
    if not found.is_trained:
        notes.append(UNKNOWN if found.is_trained is None else f"{FRESH}; --pretrained gives it others")
    return notes


def _why(page: Page, found: Explained) -> None:
    page.heading(f"What speaks for {found.label}")
    page.text(
        "Bright is what speaks for it. Grad-CAM weighs the network's last maps by how much the class's logit grows "
        "with each; occlusion covers the image square by square, and looks how much less probable the class is. "
        "Pictures alone mislead: so what each points at is taken away first, and if it is right the class is soon "
        "gone. The smaller the area below its curve, the better; what is to be beaten is every order of chance."
    )
    _pictures(page, why_pictures(found))
    rows = [
        (each.way, NOTHING, "")
        if each.area is None
        else (each.way, f"{each.area:.3f}", _verdict(each.area, found.chance_areas))
        for each in found.why
    ]
    if found.chance:
        curves = {each.way: each.curve for each in found.why if each.curve} | {
            CHANCE: [mean(shares) for shares in zip(*found.chance, strict=True)]
        }
        steps = {
            name: [(at / (len(curve) - 1), share) for at, share in enumerate(curve)] for name, curve in curves.items()
        }
        page.figure(lines(steps, "share of the image that is gone", "probability of the class"))
        areas = found.chance_areas
        rows.append((f"{CHANCE}, mean", f"{mean(areas):.3f}", f"from {areas[0]:.3f} to {areas[-1]:.3f}"))
    page.table(["what goes first", "area below the curve", "beside chance"], rows)


def _verdict(area: float, chance: Sequence[float]) -> str:
    """Say whether a picture is better than orders of chance, whose areas begin with the smallest."""
    if area < chance[0]:
        return f"less than by each of {len(chance)} orders of chance"
    return "no less than by chance: do not trust its picture"


def _pictures(page: Page, shown: list[Shown]) -> None:
    page.pictures([(each.pixels, each.caption) for each in shown])


def _sides(height: int, width: int) -> str:
    return f"{height} x {width}"
