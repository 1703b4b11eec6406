"""What a trained network is worth on any images whose classes or numbers are known."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from striate.counted import Counted
from striate.data.classes import find_classes_file
from striate.data.names import MaskOptions
from striate.data.reading import Reading
from striate.data.source import Opening, part_of, read_part
from striate.jobs.judged_page import add_judged, in_words, metrics_in_words
from striate.jobs.judgement import Judgement, answers, judge_any
from striate.jobs.own_data import box_options, classes_of, count_seen, own_splits
from striate.jobs.proposing import Searching
from striate.jobs.searched import search_of, searched
from striate.jobs.usage import check_val, is_same_data, own_data
from striate.reporting.page import Page
from striate.training.folder import RunFolder
from striate.training.loading import Loader
from striate.training.task import Samples
from striate.training.tasks.detection import BoxedImages, boxed
from striate.training.tasks.images import LabelledImages, labelled
from striate.zoo import load_network

BATCH_SIZES = {"detect": 4}  # Of networks that look at each image many times.
BATCH_SIZE = 32  # Of others.


class Validating(Counted):
    """Images are being judged."""

    what = "judging images"


@dataclass(frozen=True, slots=True)
class Validated:
    """A network has been judged.

    Args:
        data: by which images.
        part: of these; empty where they are not divided.
        judged: what it is worth.
        seen: so many of them the run has learned from, or was chosen by, though they were given as others.
    """

    data: str
    part: str
    judged: Judgement
    seen: int = 0


ValRecord = Opening | Searching | Validating | Validated


def val(
    run: str | Path,
    data: str | None = None,
    *,
    split: str | None = None,
    batch_size: int | None = None,
    reading: Reading | None = None,
) -> Iterator[ValRecord]:
    """Judge a trained network, yielding records while it goes on.

    Args:
        run: the folder of a run, or of weights with their config.
        data: images with their classes or numbers, as `striate.data.source.read_data` takes them; the run's own by
            default.
        split: ``train``, ``val`` or ``test``; by default the part of the run's own data that it has never seen, or of
            other data the last of these that there is.
        batch_size: images at once; 32 by default, or 4 where things are found.
        reading: how files are read; the run's own are read as it did. Where it does not say how masks are, a file of
            classes in the data's folder does, or else they hold the numbers that the network was trained on.

    Raises:
        UsageError: where there is no trained network or no such data, or it has other classes.
    """
    check_val(run, data, split)
    reading, folder = reading or Reading(), RunFolder(Path(run))
    network, config = load_network(run)
    has_masks = config.task == "segment"
    reading = replace(reading, boxes=box_options(config.model))
    if has_masks and reading.masks is None:
        # What the data itself says of its masks counts, then what the network was trained on.
        says = data is not None and find_classes_file(Path(data), MaskOptions()) is not None
        learned = None if says else classes_of(config)
        reading = replace(reading, masks=learned or MaskOptions())
    own, seen = own_data(run), 0
    if own is not None and (data is None or is_same_data(own, data)):
        name = own
        splits = yield from own_splits(folder, reading.workers)
        part = part_of(name, split, tuple(splits.parts))
        images = splits.parts[part]
    else:
        assert data is not None, "check_val has seen to it"
        name = data
        part, images = yield from read_part(name, split, config.classes, reading)
        seen = count_seen(folder, images)
    search = search_of(network)
    images = yield from searched(images, search, reading.workers)
    prepared = config.preprocessing
    images = images.prepared(config.in_chans, prepared.image_size, prepared.crop_pct, prepared.interpolation)
    at_once = batch_size or BATCH_SIZES.get(config.task, BATCH_SIZE)
    collate: Callable[[Samples], BoxedImages | LabelledImages] = partial(
        labelled if search is None else boxed, prepared
    )
    loader = Loader(images, collate, batch_size=at_once, workers=reading.workers)
    outputs: list[Tensor] = []
    total = 0
    for batch in loader.epoch():
        assert isinstance(batch, BoxedImages | LabelledImages)
        known = batch.labels if has_masks and isinstance(batch, LabelledImages) else None
        outputs.append(answers(network, batch.shown, known))
        total += len(batch)
        yield Validating(total, len(images))
    found = judge_any(torch.cat(outputs), images, config, lambda batch: network(batch.images))
    yield Validated(name, part, found, seen)


def write_val_page(path: Path, model: str, found: Validated) -> None:
    """Write what was found as one page."""
    page = Page(f"{model} on {found.data}", in_words(found.judged, found.part))
    page.text(metrics_in_words(found.judged.metrics))
    if found.seen:
        page.text(seen_in_words(found))
    add_judged(page, found.judged, found.part)
    page.write(path)


def seen_in_words(found: Validated) -> str:
    """Say that these images are not all strangers to the run."""
    return (
        f"{found.seen:,} of these {len(found.judged.images):,} images are among those that the run has learned from or "
        "was chosen by."
    )
