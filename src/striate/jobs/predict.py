"""What a trained network says of images."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from striate.data.images import ImageFileError, Picture, read_header, read_image
from striate.data.listing import list_images
from striate.data.masked import MaskedFiles
from striate.data.names import MAX_PIXELS
from striate.data.sets import ImageFiles, ImageTensors
from striate.data.source import finish
from striate.data.transforms import to_input
from striate.errors import UsageError
from striate.files import spell
from striate.inference.folding import make_ready
from striate.inference.predict import outputs_of, to_classes, to_numbers
from striate.jobs.own_data import own_splits
from striate.jobs.questions import check_answers
from striate.jobs.usage import STANDARD_INPUT, is_same_data, own_data
from striate.results import Classes, Number
from striate.training.folder import RunFolder
from striate.weights import WeightsConfig
from striate.zoo import load_network

AT_ONCE = 16
PASS_OVER = "Or pass over such images: --skip-bad."


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image and what a network says of it.

    Args:
        source: the file, or the data set and the image's place in its part.
        result: the classes and their probabilities, or a number.
        truth: the image's class or number where it is known.
        thumbnail: the image, small: height x width x 1 or 3.
    """

    source: str
    result: Classes | Number
    truth: str | float | None
    thumbnail: UInt8[np.ndarray, "h w c"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that cannot be read.

    Args:
        source: the file.
        reason: why not.
    """

    source: str
    reason: str


class Source(NamedTuple):
    """An image that is to be judged.

    Args:
        name: of it.
        image: where it is, or its content, or itself.
        truth: its class or number where it is known.
    """

    name: str
    image: Path | bytes | Picture
    truth: str | float | None = None


class _Ready(NamedTuple):
    source: Source
    pixels: Float32[Tensor, "1 C H W"]
    thumbnail: UInt8[np.ndarray, "h w c"]


def predict(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    limit: int | None = None,
    skip_bad: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Prediction | Skipped]:
    """Yield what a trained network says of each image, in order.

    Args:
        run: the folder of a run, or of weights with their config.
        images: a file or several, folders of them, or ``-``: standard input, with an image, or with the names of files,
            one a line or with a zero byte between; or the data that this run was trained on, for the part that it has
            never seen.
        limit: at most so many.
        skip_bad: yield a `Skipped` for an image that cannot be read, and go on.
        max_pixels: an image of more cannot.

    Raises:
        UsageError: where there is no trained network, or an image cannot be read.
    """
    images = [images] if isinstance(images, str | Path) else images
    check_answers(run, images, limit)
    network, config = load_network(run)
    layout = make_ready(network)
    sources = islice(find_sources(run, images, config), limit)
    while chunk := [_read(source, config, skip_bad, max_pixels) for source in islice(sources, AT_ONCE)]:
        ready = [each for each in chunk if isinstance(each, _Ready)]
        results = iter(_results(network, layout, config, ready))
        for each in chunk:
            if isinstance(each, Skipped):
                yield each
            else:
                yield Prediction(each.source.name, next(results), each.source.truth, each.thumbnail)


def prepare(source: Source, config: WeightsConfig, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read an image.

    Raises:
        ImageFileError: where it cannot be read.
    """
    if isinstance(source.image, Picture):
        return source.image
    return read_image(source.image, config.in_chans, max_pixels)


def read_or_skip(source: Source, config: WeightsConfig, skip_bad: bool, max_pixels: int) -> Picture | Skipped:
    """Read an image, or say why it is passed over.

    Raises:
        ImageFileError: where it cannot be read, and is not to be passed over.
    """
    try:
        return prepare(source, config, max_pixels)
    except ImageFileError as error:
        if not skip_bad:
            error.remedy = f"{error.remedy} {PASS_OVER}"
            raise
        return Skipped(source.name, error.reason)


def _read(source: Source, config: WeightsConfig, skip_bad: bool, max_pixels: int) -> _Ready | Skipped:
    picture = read_or_skip(source, config, skip_bad, max_pixels)
    # Whole pictures take much; no more than one is kept.
    if isinstance(picture, Skipped):
        return picture
    return _Ready(source, to_input(picture, config.preprocessing), picture.thumbnail())


def _results(
    network: nn.Module, layout: torch.memory_format, config: WeightsConfig, ready: Sequence[_Ready]
) -> Sequence[Classes | Number]:
    if not ready:
        return ()
    batch = torch.cat([each.pixels for each in ready]).contiguous(memory_format=layout)
    (outputs,) = outputs_of(network, [batch])
    return to_numbers(outputs, config.scale) if config.scale else to_classes(outputs, config.classes)


def find_sources(run: str | Path, images: Iterable[str | Path], config: WeightsConfig) -> Iterator[Source]:
    """Yield the images that `predict` is given; arguments as there."""
    own = own_data(run)
    for image in images:
        path = Path(image)
        if str(image) == STANDARD_INPUT:
            yield from _given(sys.stdin.buffer.read())
        elif own is not None and is_same_data(own, image):
            yield from _unseen(RunFolder.find(run), config)
        elif path.is_dir():
            found = list_images(path)
            if not found:
                raise UsageError(
                    expected=f"image files in {spell(path)}", received="none", remedy="Give another folder, or files."
                )
            yield from (Source(spell(each), each) for each in found)
        else:
            yield Source(spell(path), path)


def _given(data: bytes) -> Iterator[Source]:
    """Yield what comes by standard input: an image, or else the names of files."""
    if not data.strip():
        raise UsageError(
            expected="an image, or the names of image files, by standard input",
            received="nothing",
            remedy="Such as: find photos -name '*.jpg' -print0 | striate predict RUN -",
        )
    try:
        read_header(data, sys.maxsize)
    except ImageFileError:
        names = data.split(b"\0") if b"\0" in data else data.splitlines()
        yield from (Source(spell(name), Path(name)) for name in map(os.fsdecode, names) if name)
    else:
        yield Source(STANDARD_INPUT, data)


def _unseen(folder: RunFolder, config: WeightsConfig) -> Iterator[Source]:
    _, unseen = finish(own_splits(folder)).judged
    if isinstance(unseen, ImageTensors):
        unseen = unseen.prepared(config.in_chans, unseen.image_size, None)
    for place, label in enumerate(unseen.labels.tolist()):
        image = unseen.paths[place] if isinstance(unseen, ImageFiles) else unseen.picture(place)
        truth = unseen.classes[label] if unseen.classes else float(label)
        yield Source(unseen.source(place), image, None if isinstance(unseen, MaskedFiles) else truth)
