"""What one filter answers to most, among many images, and the part of each that made it answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from striate.counted import Counted
from striate.data.images import visible
from striate.data.listing import list_images
from striate.errors import UsageError
from striate.explanation.points import Point, layer_title, run_to
from striate.jobs.subjects import Subject

KEPT = 9


class Answering(Counted):
    """Images are shown to a filter."""

    what = "images for the filter"


@dataclass(frozen=True, slots=True)
class Answer:
    """An image that a filter answers to.

    Args:
        source: of the image.
        value: of the filter's map where it is largest.
        unit: row and column there.
        pixels: that this unit sees, as far as they lie in the image.
    """

    source: str
    value: float
    unit: tuple[int, int]
    pixels: UInt8[np.ndarray, "h w c"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What one filter answers to most.

    Args:
        layer: its name.
        channel: of the layer's maps, the filter's.
        images: that it was shown.
        strongest: of them, the strongest first.
    """

    layer: str
    channel: int
    images: int
    strongest: tuple[Answer, ...]


def find_answers(
    subject: Subject, point: Point, channel: int, folder: Path, kept: int = KEPT
) -> Iterator[Answering | Answers]:
    """Show a filter all images of a folder; the last record is what it answered to most.

    Args:
        subject: whose filter it is.
        point: the layer's maps.
        channel: of these, the filter's.
        folder: of images, and folders of them.
        kept: images at most.

    Raises:
        UsageError: for a folder without images, a filter that is not there, or an image that cannot be read.
    """
    if not 0 <= channel < point.shape[0]:
        raise UsageError(
            expected=f"a filter of {layer_title(point.name)} from 0 to {point.shape[0] - 1}",
            received=str(channel),
            remedy="Give another number.",
        )
    paths = list_images(folder) if folder.is_dir() else []
    if not paths:
        raise UsageError(
            expected="a folder with images, to show them to a filter", received=str(folder), remedy="Give another."
        )
    found: list[Answer] = []
    for done, path in enumerate(paths, 1):
        pixels, given = subject.read(path)
        with torch.no_grad():
            maps = run_to(subject.network, given, point)[0, channel]
        row, column = divmod(int(maps.argmax()), maps.shape[1])
        rows, columns = (
            span.clipped(size) for span, size in zip(point.seen(row, column), pixels.shape[2:], strict=True)
        )
        shown = visible(pixels[0, :, rows.start : rows.end, columns.start : columns.end])
        found = sorted([*found, Answer(str(path), float(maps.max()), (row, column), shown)], key=_by_value)[:kept]
        yield Answering(done, len(paths))
    yield Answers(point.name, channel, len(paths), tuple(found))


def _by_value(answer: Answer) -> float:
    return -answer.value
