"""What a network that finds things is worth, on a page: by class, its curves, and what it missed."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from striate.data.boxed import boxes_of
from striate.data.images import Picture
from striate.jobs.judged_masks_page import beside_each_other, share
from striate.jobs.judging_boxes import JudgedBoxes
from striate.reporting.boxes import box_colours, draw_boxes
from striate.reporting.detections import draw_detections
from striate.reporting.figures import precision_recall
from striate.reporting.page import Page

SPREAD, WORST = 6, 6  # Images that are shown: some of all, and those with the most mistakes.
SURE = 0.5
SIDE = 560  # Pixels of the longer side of one picture.


def add_judged_boxes(page: Page, judged: JudgedBoxes, of: str) -> None:
    """Add what a network is worth; ``of`` says on which images."""
    page.heading(f"Classes{of}")
    has_masks = "mask_ap" in judged.metrics
    page.text(
        "AP: average precision, the mean over least overlaps of .50, .55, ... .95 that make a box right. AP50: at .50. "
        "Found: the share of the things that some box is right about at .50, however unsure."
    )
    headings = ["class", "things", "found", "AP50", "AP", *(["AP of masks"] if has_masks else [])]
    page.table(
        headings,
        [
            (
                *(each.name, each.things, *map(share, (each.found, each.ap50, each.ap))),
                *([share(each.mask_ap)] if has_masks else []),
            )
            for each in judged.classes
        ],
        sortable=True,
    )
    page.heading(f"Precision by recall{of}, boxes right at an overlap of .50")
    named = zip(judged.images.classes, judged.curves, strict=True)
    page.figure(
        precision_recall(
            {name: (curve.recall.tolist(), curve.precision.tolist()) for name, curve in named if curve.things}
        )
    )
    page.heading(f"What is there, and what was found with a score of {SURE} or more{of}")
    page.pictures(
        [
            (_beside(judged, place), f"{judged.images.source(place)}: {judged.mistakes[place]} missed or wrong")
            for place in _shown(judged)
        ]
    )


def _shown(judged: JudgedBoxes) -> tuple[int, ...]:
    count = len(judged.images)
    spread = [place * count // SPREAD for place in range(SPREAD)] if count > SPREAD else list(range(count))
    others = [place for place in range(count) if place not in spread]
    return (*spread, *sorted(others, key=lambda place: -judged.mistakes[place])[:WORST])


def _beside(judged: JudgedBoxes, place: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image with what is there, and beside it with what was found."""
    names = judged.images.classes
    colours = box_colours(len(names))
    shown = pixels_of(judged.images.picture(place))
    instances = judged.images.annotations[place].instances
    labels = np.array([names.index(each.label) for each in instances], np.int64)
    there = draw_boxes(shown, boxes_of(instances).numpy(), labels, colours, [each.ignored for each in instances])
    said = draw_detections(shown, judged.found[place].above(SURE))
    pictures = (Image.fromarray(each) for each in (there, said))
    scale = SIDE / max(said.shape[:2])
    size = max(round(said.shape[1] * scale), 1), max(round(said.shape[0] * scale), 1)
    return beside_each_other(*(np.asarray(each.resize(size, Image.Resampling.BOX)) for each in pictures))


def pixels_of(picture: Picture) -> UInt8[np.ndarray, "h w c"]:
    """Return an image to draw on: grey, or of colour; of other channels, the first."""
    pixels = picture.pixels()
    return pixels[: 3 if len(pixels) >= 3 else 1].permute(1, 2, 0).contiguous().numpy()
