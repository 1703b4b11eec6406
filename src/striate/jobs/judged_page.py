"""What a network is worth, on a page: by class or by number, how sure it was, and its worst mistakes."""

from collections.abc import Mapping

from striate.jobs.judging import Judged
from striate.reporting.figures import calibration, confusion_matrix, scatter
from striate.reporting.page import Page
from striate.results import Number

WORST = 24
PARTS = {"train": "training", "val": "validation", "test": "test"}


def in_words(judged: Judged, part: str) -> str:
    """Say in half a sentence what a network is worth."""
    images = f"{PARTS[part]} images" if part else "images"
    if judged.confusion:
        return f"{judged.metrics['accuracy']:.2%} of the {images} right ({judged.right:,} of {len(judged.images):,})"
    return f"{metrics_in_words(judged.metrics)} on {len(judged.images):,} {images}"


def metrics_in_words(metrics: Mapping[str, float]) -> str:
    """Say metrics with their names."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())


def add_judged(page: Page, judged: Judged, part: str) -> None:
    """Add what a network is worth on one part of its images."""
    name = PARTS.get(part, "")
    of = f" of the {name} images" if name else ""
    if judged.confusion:
        page.heading(f"Confusion matrix{of}")
        page.figure(confusion_matrix(judged.confusion, judged.images.classes))
        page.table(
            ["class", "images", "precision", "recall"],
            [(each.name, each.images, _share(each.precision), _share(each.recall)) for each in judged.classes],
        )
        page.heading("How sure it was, and how right")
        page.text(
            f"Calibration error {judged.metrics['calibration_error']:.2%}: the mean distance between the probability "
            "said and the share that was right, in bins of probability."
        )
        page.figure(calibration([(each.images, each.confidence, each.accuracy) for each in judged.calibration]))
    else:
        page.heading(f"Numbers said and true{of}")
        said = [prediction.value for prediction in judged.predictions if isinstance(prediction, Number)]
        page.figure(scatter(judged.images.labels.tolist(), said))
    page.heading("Worst mistakes")
    mistakes = _mistakes(judged)
    page.pictures([(judged.images.picture(place).thumbnail(), caption) for place, caption in mistakes])
    if not mistakes:
        page.text(f"None: every one{of} was classified rightly.")


def _share(share: float | None) -> str:
    return "none" if share is None else f"{share:.2%}"


def _mistakes(judged: Judged) -> list[tuple[int, str]]:
    """Return the places of the images that it was furthest off with, and what it said of each."""
    labels, names = judged.images.labels.tolist(), judged.images.classes
    found: list[tuple[float, int, str]] = []
    for place, (label, said) in enumerate(zip(labels, judged.predictions, strict=True)):
        if isinstance(said, Number):
            found.append((abs(said.value - label), place, f"{label:.4g}, taken for {said.value:.4g}"))
        elif said.best != label:
            doubt = 1 - said.probabilities[label]
            found.append((doubt, place, f"{names[label]}, taken for {said.name} ({said.probability:.0%})"))
    found.sort(key=lambda mistake: -mistake[0])
    return [(place, caption) for _, place, caption in found[:WORST]]
