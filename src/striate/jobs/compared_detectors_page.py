"""Networks that find things, beside each other, in a table and on a page."""

from pathlib import Path

from striate.jobs.comparing_detectors import ComparedDetectors
from striate.reporting.figures import times_split
from striate.reporting.page import Page
from striate.units import format_bytes, format_duration

HEADINGS = (
    "network",
    "AP",
    "AP50",
    "s an image",
    "proposals",
    "features",
    "heads",
    "peak to predict",
    "peak to train",
    "on disk",
    "training",
)
PAPERS = (
    "In their papers, VGG-16 on a GPU of 2014: R-CNN 47 s an image, Fast R-CNN 0.3 s and 2 s for the proposals that it "
    "is given (Girshick, 2015, table 4), Faster R-CNN 0.2 s with its own (Ren et al., 2015, table 5); YOLO, of 2016, "
    "0.02 s (table 1)."
)


def in_words(found: ComparedDetectors) -> str:
    """Say what was compared."""
    return (
        f"{found.data}: {found.tested:,} images to test on, each network on {found.backbone}; {found.timed} of them "
        f"timed, one by one, on this {found.device}"
    )


def rows_of(found: ComparedDetectors) -> list[tuple[str, ...]]:
    """Return a row of each network, under `HEADINGS`."""
    return [
        (
            each.model,
            f"{each.ap:.1%}",
            f"{each.ap50:.1%}",
            f"{each.seconds.total:.3f}",
            *(f"{part:.3f}" for part in each.seconds),
            format_bytes(each.predicting),
            "" if each.training is None else format_bytes(each.training),
            format_bytes(each.disk) if each.disk else "",
            format_duration(each.trained),
        )
        for each in found.worth
    ]


def write_compared_detectors_page(path: Path, found: ComparedDetectors) -> None:
    """Write what was found as one page."""
    page = Page("Networks that find things, beside each other", in_words(found))
    page.heading("Where the time of an image goes")
    page.text(
        "Seconds, the median of the images that were timed. Proposals: selective search or, of Faster R-CNN, the "
        "layers and the suppression that take its place; features: the backbone's layers, on the image or on each "
        f"proposal; heads: all else. {PAPERS}"
    )
    page.figure(times_split({each.model: each.seconds._asdict() for each in found.worth}))
    page.heading("What each is worth, and takes")
    page.text(
        "AP: average precision of boxes as COCO takes it, the mean over least overlaps of .50 to .95; AP50: at .50. "
        "Peaks: bytes of tensors, of one image at prediction, and of a step of training. On disk: proposals, and the "
        "features that R-CNN's last stages learned from. Training: with the search for proposals in all images, as "
        "long as the timed ones took, and R-CNN's last stages since they were last begun."
    )
    page.table(list(HEADINGS), rows_of(found))
    page.write(path)
