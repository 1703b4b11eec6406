"""How much of what is in images lies in the proposals of a search: an experiment on the user's own images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float32, Int64

from striate.data.annotations import Annotation
from striate.data.boxed import Boxed, boxes_of
from striate.data.names import BoxOptions
from striate.data.reading import Reading
from striate.data.source import Opening, read_data
from striate.detection.proposals import SearchMode
from striate.detection.recall import COUNTS as COUNTS
from striate.detection.recall import mean_average_best_overlap, recall
from striate.errors import UsageError
from striate.jobs.judging_boxes import RIGHT as RIGHT
from striate.jobs.proposing import Searched, Searching, search_images
from striate.reporting.figures import by_count
from striate.reporting.page import Page
from striate.units import format_bytes

MODES: tuple[SearchMode, ...] = get_args(SearchMode)
SEED = 0  # All parts of a data set are searched, so that it does not matter how a set is divided.


@dataclass(frozen=True, slots=True)
class ModeWorth:
    """What one mode of a search is worth.

    Args:
        mode: of the search.
        recall: of the first so many proposals of each image, for each of `COUNTS`: the share of things that one of them
            overlaps by an IoU of `RIGHT` or more.
        mabo: likewise the IoU with the best of them, the mean over the things of a class and then over classes.
        proposals: of an image, the mean.
        seconds: for an image, the mean over those that were searched; None where all were searched before.
        searched: images.
        stored: bytes that all proposals take on the disk.
    """

    mode: SearchMode
    recall: tuple[float, ...]
    mabo: tuple[float, ...]
    proposals: float
    seconds: float | None
    searched: int
    stored: int


@dataclass(frozen=True, slots=True)
class ComparedProposals:
    """What modes of a search are worth on the same images.

    Args:
        data: of which they are.
        images: that were searched.
        things: in them, without those that need not be found.
        modes: the worth of each.
    """

    data: str
    images: int
    things: int
    modes: tuple[ModeWorth, ...]


def compare_proposals(
    data: str, modes: Sequence[SearchMode] = MODES, *, limit: int | None = None, workers: int = 0
) -> Iterator[Opening | Searching | ComparedProposals]:
    """Search images with boxes in several modes, yielding how far it is; the last record is a `ComparedProposals`.

    Args:
        data: with boxes, as ``striate train --task detect`` takes it.
        modes: of the search.
        limit: at most so many images, spread over all; None for all.
        workers: processes that read and search images; 0 does it in this one.

    Raises:
        UsageError: where there are no images with boxes, or no things in them.
    """
    splits = yield from read_data(data, SEED, Reading(workers=workers, boxes=BoxOptions()))
    parts = _spread([part for part in splits.parts.values() if isinstance(part, Boxed)], limit)
    classes = parts[0].classes
    truths = [_things(annotation, classes) for part in parts for annotation in part.annotations]
    boxes, labels = [xyxy for xyxy, _ in truths], [names for _, names in truths]
    things = sum(map(len, boxes))
    if not things:
        raise UsageError(
            expected=f"things to find in {data}",
            received=f"{len(boxes):,} images with nothing in them that is to be found",
            remedy="Take more images, or others.",
        )
    worth = []
    for mode in modes:
        found: list[Searched] = []
        for part in parts:
            found += yield from search_images(part, mode, max(COUNTS), workers)
        worth.append(_worth(mode, found, boxes, labels))
    yield ComparedProposals(splits.name, len(boxes), things, tuple(worth))


def _spread(parts: Sequence[Boxed], limit: int | None) -> list[Boxed]:
    """Return the parts of a data set, or so many of their images, as far from each other as can be."""
    total = sum(map(len, parts))
    count = total if limit is None else min(limit, total)
    places, first, chosen = [number * total // count for number in range(count)], 0, []
    for part in parts:
        own = [place - first for place in places if first <= place < first + len(part)]
        chosen += [part.subset(own)] if own else []
        first += len(part)
    return chosen


def _things(
    annotation: Annotation, classes: Sequence[str]
) -> tuple[Float32[np.ndarray, "T 4"], Int64[np.ndarray, " T"]]:
    """Return the boxes and the classes of the things that are to be found in an image."""
    wanted = [each for each in annotation.instances if not each.ignored]
    return boxes_of(wanted).numpy(), np.array([classes.index(each.label) for each in wanted], np.int64)


def _worth(
    mode: SearchMode,
    found: Sequence[Searched],
    boxes: Sequence[Float32[np.ndarray, "_ 4"]],
    labels: Sequence[Int64[np.ndarray, " _"]],
) -> ModeWorth:
    proposals = [each.proposals for each in found]
    seconds = [each.seconds for each in found if each.seconds is not None]
    return ModeWorth(
        mode,
        recall(proposals, boxes, COUNTS, RIGHT),
        mean_average_best_overlap(proposals, boxes, labels, COUNTS),
        sum(each.found for each in found) / len(found),
        sum(seconds) / len(seconds) if seconds else None,
        len(seconds),
        sum(each.stored for each in found),
    )


def cost_rows(compared: ComparedProposals) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the headings of a table of what each mode takes, and its rows."""
    rows: list[tuple[str, ...]] = [
        (
            each.mode,
            f"{each.proposals:,.0f}",
            "" if each.seconds is None else f"{each.seconds:.2f}",
            f"{each.searched:,}",
            format_bytes(each.stored),
        )
        for each in compared.modes
    ]
    return ["mode", "proposals an image", "seconds an image", "searched now", "kept on the disk"], rows


def worth_rows(compared: ComparedProposals) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the headings of a table of what the first so many proposals find, and its rows."""
    headings = ["proposals", *(f"{each.mode} {what}" for each in compared.modes for what in ("recall", "MABO"))]
    rows = [
        (
            f"{count:,}",
            *(text for each in compared.modes for text in (f"{each.recall[row]:.1%}", f"{each.mabo[row]:.3f}")),
        )
        for row, count in enumerate(COUNTS)
    ]
    return headings, rows


def in_words(compared: ComparedProposals) -> str:
    """Return what was searched."""
    return f"{compared.data}: {compared.things:,} things in {compared.images:,} images"


def write_compared_proposals_page(path: Path, compared: ComparedProposals) -> None:
    """Write what the modes are worth as one page, with curves."""
    page = Page("Proposals of selective search", in_words(compared))
    page.heading("What is found")
    page.text(
        f"Recall: the share of the things that one of the first so many proposals of their image overlaps by {RIGHT} "
        "(intersection over union) or more. MABO: the overlap with the best of them, the mean over the things of a "
        "class, and over classes. Where an image has fewer proposals, all count."
    )
    page.table(*worth_rows(compared))
    page.figure(by_count({each.mode: each.recall for each in compared.modes}, COUNTS, "recall"))
    page.figure(by_count({each.mode: each.mabo for each in compared.modes}, COUNTS, "mean average best overlap"))
    page.heading("What it takes")
    page.text("Seconds of one process, the mean over the images that had not been searched before.")
    page.table(*cost_rows(compared))
    page.write(path)
