"""What a network is worth, on a page: by class or by number, how sure it was, and its worst mistakes."""

from collections.abc import Mapping

from striate.jobs.judged_boxes_page import add_judged_boxes
from striate.jobs.judged_masks_page import add_judged_masks, share
from striate.jobs.judgement import Judgement
from striate.jobs.judging import Judged
from striate.jobs.judging_boxes import JudgedBoxes
from striate.jobs.judging_masks import JudgedMasks
from striate.reporting.figures import calibration, confusion_matrix, scatter
from striate.reporting.page import Page
from striate.training.records import metric_in_words

WORST = 24
PARTS = {"train": "training", "val": "validation", "test": "test"}


def in_words(judged: Judgement, part: str) -> str:
    """Say in half a sentence what a network is worth."""
    images = f"{PARTS[part]} images" if part else "images"
    if isinstance(judged, JudgedMasks):
        return f"mean IoU {judged.metrics['mean_iou']:.2%} on {len(judged.images):,} {images}"
    if isinstance(judged, JudgedBoxes):
        return f"AP {judged.metrics['ap']:.2%}, AP50 {judged.metrics['ap50']:.2%} on {len(judged.images):,} {images}"
    if judged.confusion:
        return f"{judged.metrics['accuracy']:.2%} of the {images} right ({judged.right:,} of {len(judged.images):,})"
    return f"rmse {judged.metrics['rmse']:.6g} on {len(judged.images):,} {images}"


def metrics_in_words(metrics: Mapping[str, float]) -> str:
    """Say metrics with their names."""
    return ", ".join(metric_in_words(name, value) for name, value in metrics.items())


def add_judged(page: Page, judged: Judgement, part: str) -> None:
    """Add what a network is worth on one part of its images."""
    name = PARTS.get(part, "")
    of = f" of the {name} images" if name else ""
    if isinstance(judged, JudgedMasks):
        add_judged_masks(page, judged, of)
        return
    if isinstance(judged, JudgedBoxes):
        add_judged_boxes(page, judged, of)
        return
    if judged.confusion:
        page.heading(f"Confusion matrix{of}")
        page.figure(confusion_matrix(judged.confusion, judged.images.classes))
        page.table(
            ["class", "images", "precision", "recall"],
            [(each.name, each.images, share(each.precision), share(each.recall)) for each in judged.classes],
        )
        page.heading("How sure it was, and how right")
        page.text(
            f"Calibration error {judged.metrics['calibration_error']:.2%}: the mean distance between the probability "
            "said and the share that was right, in bins of probability."
        )
        page.figure(calibration([(each.images, each.confidence, each.accuracy) for each in judged.calibration]))
    else:
        page.heading(f"Numbers said and true{of}")
        page.figure(scatter(judged.images.labels.tolist(), judged.said.tolist()))
    page.heading("Worst mistakes")
    mistakes = _mistakes(judged)
    page.pictures([(judged.images.picture(place).thumbnail(), caption) for place, caption in mistakes])
    if not mistakes:
        page.text(f"None: every one{of} was classified rightly.")


def _mistakes(judged: Judged) -> list[tuple[int, str]]:
    """Return the places of the images that it was furthest off with, and what it said of each."""
    labels, names, said = judged.images.labels, judged.images.classes, judged.said
    if not names:
        worst = (said - labels).abs().argsort(descending=True, stable=True)[:WORST].tolist()
        return [(place, f"{float(labels[place]):.6g}, taken for {float(said[place]):.6g}") for place in worst]
    sure, taken = said.max(1)
    doubt = (1 - said.gather(1, labels[:, None])[:, 0]) * (taken != labels)
    count = min(int((taken != labels).sum()), WORST)
    return [
        (place, f"{names[int(labels[place])]}, taken for {names[int(taken[place])]} ({float(sure[place]):.0%})")
        for place in doubt.argsort(descending=True, stable=True)[:count].tolist()
    ]
