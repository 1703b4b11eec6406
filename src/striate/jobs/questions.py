"""What a trained network can be asked: one answer for an image, one at each place of it, or a mask."""

from collections.abc import Sequence
from pathlib import Path

from striate.errors import UsageError, nearest
from striate.jobs.usage import check_prediction, expect_images
from striate.weights import find_weights, read_weights_config

SAID = {
    "classify": "classes of a whole image",
    "regress": "a number",
    "segment": "a class for each pixel",
    "detect": "boxes around things",
}
ANSWERS = "For one answer for each image, see striate.predict."
WAYS = {
    "regress": "What a number would mean at a place of an image, nobody knows.",
    "segment": "Of such a network, `striate predict` (from Python, striate.segment_images) writes masks.",
    "detect": "Of such a network, `striate predict` (from Python, striate.detect_images) draws what it finds.",
}


def check_answers(run: str | Path, images: Sequence[str | Path], limit: int | None = None) -> None:
    """Refuse what could not be predicted with one answer for each image.

    Raises:
        UsageError: as `check_prediction` does, and for a network that says something else.
    """
    check_prediction(run, images, limit)
    config = read_weights_config(find_weights(run))
    if config.task not in ("classify", "regress"):
        raise UsageError(
            expected="a network with one answer for each image",
            received=f"{config.model}, which says {SAID[config.task]}",
            remedy=WAYS[config.task],
        )


def check_map(run: str | Path, images: Sequence[str | Path], limit: int | None = None) -> None:
    """Refuse what could not be asked at each place of an image.

    Raises:
        UsageError: as `check_prediction` does, and where a number was learned, or a class for each pixel.
    """
    check_prediction(run, images, limit)
    config = read_weights_config(find_weights(run))
    if config.task != "classify":
        raise UsageError(
            expected="a network that tells classes of whole images",
            received=f"{config.model}, which says {SAID[config.task]}",
            remedy=WAYS[config.task],
        )


def check_conversion(run: str | Path, images: Sequence[str | Path]) -> None:
    """Refuse what could not be made to answer at every place.

    Raises:
        UsageError: where there is no trained classifier, or no image to compare on.
    """
    check_map(run, images)
    expect_images(run, images, "to compare the converted network on")


def check_masks(run: str | Path, images: Sequence[str | Path], limit: int | None = None) -> None:
    """Refuse that of which no masks could be made.

    Raises:
        UsageError: as `check_prediction` does, and for a network that says something of whole images, or tells more
            classes than a byte holds.
    """
    check_prediction(run, images, limit)
    config = read_weights_config(find_weights(run))
    if config.task != "segment":
        raise UsageError(
            expected="a network that says a class for each pixel",
            received=f"{config.model}, which says {SAID[config.task]}",
            remedy=WAYS["detect"] if config.task == "detect" else ANSWERS,
        )
    from striate.results import UNKNOWN  # Takes longer than most of what is refused here.

    if len(config.classes) > UNKNOWN:
        raise UsageError(
            expected=f"{UNKNOWN} classes or fewer, whose masks have a byte for each pixel",
            received=f"{len(config.classes)} classes of {config.model}",
            remedy="Train it with fewer: join those that need not be told apart.",
        )


def check_detections(run: str | Path, images: Sequence[str | Path], limit: int | None, score: float) -> None:
    """Refuse that in which nothing could be found.

    Raises:
        UsageError: as `check_prediction` does, and for a network that does not find things, or a score that is none.
    """
    check_prediction(run, images, limit)
    config = read_weights_config(find_weights(run))
    if config.task != "detect":
        raise UsageError(
            expected="a network that finds things",
            received=f"{config.model}, which says {SAID[config.task]}",
            remedy=WAYS["segment"] if config.task == "segment" else ANSWERS,
        )
    if not 0 <= score <= 1:
        raise UsageError(expected="a score from 0 to 1", received=f"{score:g}", remedy="Such as 0.5.")


def task_of(run: str | Path) -> str:
    """Return what weights were trained for."""
    return read_weights_config(find_weights(run)).task


def is_converted(run: str | Path) -> bool:
    """Tell whether weights are of a network that answers at each place of an image."""
    return read_weights_config(find_weights(run)).fully_convolutional is not None


def expect_class(run: str | Path, name: str) -> None:
    """Refuse a class that a network does not tell.

    Raises:
        UsageError: with the nearest that it does.
    """
    classes = read_weights_config(find_weights(run)).classes
    if name not in classes:
        raise UsageError(
            expected="--heatmap as one of the network's classes", received=repr(name), remedy=nearest(name, classes)
        )
