"""What a network that finds things is worth, on a page: by class, its curves, and what it missed."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from striate.boxes import has_extent
from striate.data.boxed import Boxed, boxes_of
from striate.detection.recall import COUNTS, recall
from striate.jobs.judged_masks_page import beside_each_other, share
from striate.jobs.judging_boxes import RIGHT, SURE, JudgedBoxes
from striate.reporting.boxes import box_colours, draw_boxes
from striate.reporting.detections import draw_detections
from striate.reporting.figures import by_count, precision_recall
from striate.reporting.page import Page

SIDE = 560  # Pixels of the longer side of one picture.


def add_judged_boxes(page: Page, judged: JudgedBoxes, of: str) -> None:
    """Add what a network is worth; ``of`` says on which images."""
    page.heading(f"Classes{of}")
    page.text(
        "AP: average precision, the mean over least overlaps of .50, .55, ... .95 that make a box right. AP50: at .50. "
        "Found: the share of the things that some box is right about at .50, however unsure."
    )
    headings, rows = class_rows(judged)
    page.table(headings, rows, sortable=True)
    page.heading(f"Precision by recall{of}, boxes right at an overlap of .50")
    named = zip(judged.images.classes, judged.curves, strict=True)
    page.figure(
        precision_recall(
            {name: (curve.recall.tolist(), curve.precision.tolist()) for name, curve in named if curve.things}
        )
    )
    if judged.images.proposed is not None:
        _add_recall(page, judged.images, of)
    page.heading(f"What is there, and what was found with a score of {SURE} or more{of}")
    page.text("On the left what is there, a frame in the colour of its class; on the right what was found.")
    page.pictures(
        [
            (_beside(judged, place), f"{judged.images.source(place)}: {judged.mistakes[place]} missed or wrong")
            for place in judged.shown
        ]
    )


def _add_recall(page: Page, images: Boxed, of: str) -> None:
    """Add which share of the things lie in proposals: no network that is shown these can find others."""
    proposals, things = [], []
    for annotation in images.annotations:
        assert annotation.proposals is not None
        proposals.append(annotation.proposals[has_extent(annotation.proposals)].numpy())
        things.append(boxes_of([each for each in annotation.instances if not each.ignored]).numpy())
    room = images.proposed or 1
    counts = [*(count for count in COUNTS if count < room), room]
    shares = recall(proposals, things, counts, RIGHT)
    page.heading(f"Things that lie in proposals{of}")
    page.text(
        f"The share of the things that one of the first so many proposals overlaps by .50 or more; {shares[-1]:.1%} of "
        f"{sum(map(len, things)):,} in all {room:,}. What is in none of them cannot be found."
    )
    page.figure(by_count({"selective search": shares}, counts, "recall"))


def class_rows(judged: JudgedBoxes) -> tuple[list[str], list[tuple[object, ...]]]:
    """Return the headings of a table of classes, and its rows."""
    has_masks = "mask_ap" in judged.metrics
    rows: list[tuple[object, ...]] = []
    for each in judged.classes:
        shares = (each.found, each.ap50, each.ap, *((each.mask_ap,) if has_masks else ()))
        rows.append((each.name, each.things, *map(share, shares)))
    return ["class", "things", "found", "AP50", "AP", *(["AP of masks"] if has_masks else [])], rows


def _beside(judged: JudgedBoxes, place: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image with what is there, and beside it with what was found."""
    names, said = judged.images.classes, judged.shown[place]
    height, width = said.image_size
    scale = SIDE / max(height, width)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    picture = judged.images.picture(place)
    instances = judged.images.annotations[place].instances
    labels = np.array([names.index(each.label) for each in instances], np.int64)
    boxes = boxes_of(instances).numpy() * np.float32(scale)
    ignored = [each.ignored for each in instances]
    there = draw_boxes(picture.scaled(size).colours(), boxes, labels, box_colours(len(names)), ignored)
    # An image in memory is as large as the network takes it, which may be another size than it was made in.
    whole = picture if picture.size == said.image_size else picture.scaled(said.image_size)
    drawn = Image.fromarray(draw_detections(whole.colours(), said))
    return beside_each_other(there, np.asarray(drawn.resize(size[::-1], Image.Resampling.BOX)))
