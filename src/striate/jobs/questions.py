"""What a trained network can be asked: one answer for an image, one at each place of it, a mask, or boxes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from striate.errors import UsageError, nearest
from striate.jobs.usage import check_prediction, expect_images
from striate.weights import WeightsConfig, find_weights, read_weights_config

SAID = {
    "classify": "classes of a whole image",
    "regress": "a number",
    "segment": "a class for each pixel",
    "detect": "boxes around things",
}
ANSWERS = "For one answer for each image, see striate.predict."
WAYS = {
    "classify": ANSWERS,
    "regress": ANSWERS,
    "segment": "Of such a network, `striate predict` (from Python, striate.segment_images) writes masks.",
    "detect": "Of such a network, `striate predict` (from Python, striate.detect_images) draws what it finds.",
}
NO_MAP = "What a number would mean at a place of an image, nobody knows."


def _expect(config: WeightsConfig, tasks: Sequence[str], expected: str, ways: Mapping[str, str] = WAYS) -> None:
    """Refuse a network for another task, with what it is for."""
    if config.task not in tasks:
        raise UsageError(
            expected=expected, received=f"{config.model}, which says {SAID[config.task]}", remedy=ways[config.task]
        )


def check_answers(run: str | Path, images: Sequence[str | Path], limit: int | None = None) -> None:
    """Refuse what could not be predicted with one answer for each image.

    Raises:
        UsageError: as `check_prediction` does, and for a network that says something else.
    """
    check_prediction(run, images, limit)
    _expect(_config(run), ("classify", "regress"), "a network with one answer for each image")


def check_map(run: str | Path, images: Sequence[str | Path], limit: int | None = None) -> None:
    """Refuse what could not be asked at each place of an image.

    Raises:
        UsageError: as `check_prediction` does, and for a network that says anything but classes.
    """
    check_prediction(run, images, limit)
    ways = WAYS | {"regress": NO_MAP}
    _expect(_config(run), ("classify",), "a network that tells classes of whole images", ways)


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
    config = _config(run)
    _expect(config, ("segment",), "a network that says a class for each pixel")
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
    _expect(_config(run), ("detect",), "a network that finds things")
    if not 0 <= score <= 1:
        raise UsageError(expected="a score from 0 to 1", received=f"{score:g}", remedy="Such as 0.5.")


def _config(run: str | Path) -> WeightsConfig:
    return read_weights_config(find_weights(run))


def task_of(run: str | Path) -> str:
    """Return what weights were trained for."""
    return _config(run).task


def is_converted(run: str | Path) -> bool:
    """Tell whether weights are of a network that answers at each place of an image."""
    return _config(run).fully_convolutional is not None


def expect_class(run: str | Path, name: str) -> None:
    """Refuse a class that a network does not tell.

    Raises:
        UsageError: with the nearest that it does.
    """
    classes = _config(run).classes
    if name not in classes:
        raise UsageError(
            expected="--heatmap as one of the network's classes", received=repr(name), remedy=nearest(name, classes)
        )
