"""What a trained network is worth on any images whose classes or numbers are known."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from striate.data.preprocessing import Preprocessing
from striate.data.source import Inspecting, Reading, read_data, read_part
from striate.data.transforms import normalise
from striate.errors import UsageError
from striate.files import replace_file
from striate.inference.predict import outputs_of
from striate.jobs.judged_page import add_judged, in_words, metrics_in_words
from striate.jobs.judging import Judged, judge
from striate.jobs.usage import check_val, is_own_data
from striate.reporting.page import Page
from striate.training.folder import RunFolder
from striate.training.loading import Loader
from striate.training.task import Samples
from striate.training.tasks import LabelledImages
from striate.zoo import load_network

BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class Validating:
    """Images are being judged.

    Args:
        done: so many are.
        total: of so many.
    """

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Validated:
    """A network has been judged.

    Args:
        data: by which images.
        part: of these; empty where they are not divided.
        judged: what it is worth.
    """

    data: str
    part: str
    judged: Judged


ValRecord = Inspecting | Validating | Validated


def val(
    run: str | Path,
    data: str | None = None,
    *,
    split: str | None = None,
    batch_size: int = BATCH_SIZE,
    reading: Reading | None = None,
) -> Iterator[ValRecord]:
    """Judge a trained network, yielding records while it goes on.

    Args:
        run: the folder of a run, or of weights with their config.
        data: images with their classes or numbers, as `striate.data.source.read_data` takes them; the run's own by
            default.
        split: ``train``, ``val`` or ``test``; by default the part of the run's own data that it has never seen, or of
            other data the last of these that there is.
        batch_size: images at once.
        reading: how files are read.

    Raises:
        UsageError: where there is no trained network or no such data, or it has other classes.
    """
    check_val(run, data, split)
    reading = reading or Reading()
    network, config = load_network(run)
    total = 0
    name = data or RunFolder.find(run).config().data
    if is_own_data(run, name):
        asked = RunFolder.find(run).config()
        splits = yield from read_data(asked.data, asked.seed, reading)
        part = split or splits.judged[0]
        if part not in splits.parts:
            raise UsageError(
                expected=f"one of the parts of {name}: {', '.join(splits.parts)}",
                received=part,
                remedy="Leave --split out, or name another part.",
            )
        images = splits.parts[part]
    else:
        part, images = yield from read_part(name, split, config.classes, reading)
    prepared = config.preprocessing
    images = images.prepared(config.in_chans, prepared.image_size, prepared.crop_pct, prepared.interpolation)
    loader = Loader(images, partial(_collate, prepared), batch_size=batch_size, workers=reading.workers)
    outputs: list[Tensor] = []
    for batch in loader.epoch():
        outputs += outputs_of(network, [batch.images])
        total += len(batch)
        yield Validating(total, len(images))
    yield Validated(name, part, judge(torch.cat(outputs), images, config.scale))


def _collate(preprocessing: Preprocessing, samples: Samples) -> LabelledImages:
    return LabelledImages(normalise(samples.images.pixels(), preprocessing), samples.images.labels)


def write_val_page(path: Path, model: str, found: Validated) -> None:
    """Write what was found as one page."""
    page = Page(f"{model} on {found.data}", in_words(found.judged, found.part))
    page.text(metrics_in_words(found.judged.metrics))
    add_judged(page, found.judged, found.part)
    text = page.html()
    replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8"))
