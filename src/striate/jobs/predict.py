"""What a trained network says of images."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from striate.data.images import MAX_PIXELS, ImageFileError, Picture, read_image
from striate.data.listing import list_images
from striate.data.sets import ImageFiles, ImageTensors
from striate.data.source import Reading, open_data
from striate.data.transforms import fit, normalise
from striate.errors import UsageError
from striate.files import spell
from striate.inference.predict import outputs_of, to_classes, to_numbers
from striate.jobs.usage import STANDARD_INPUT, check_prediction, is_own_data
from striate.results import Classes, Number
from striate.training.folder import RunFolder
from striate.weights import WeightsConfig
from striate.zoo import load_network

AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image and what a network says of it.

    Args:
        source: the file, or the data set and the image's place in its part.
        result: the classes and their probabilities, or a number.
        truth: the image's class or number where it is known.
        picture: the image as it was read.
    """

    source: str
    result: Classes | Number
    truth: str | float | None
    picture: Picture


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that cannot be read.

    Args:
        source: the file.
        reason: why not.
    """

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    image: Path | bytes | Picture
    truth: str | float | None = None


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
        images: a file or several, folders of them, or ``-``: standard input, with the names of files, one a line or
            with a zero byte between, or with one image; or the data that this run was trained on, for the part that it
            has never seen.
        limit: at most so many.
        skip_bad: yield a `Skipped` for an image that cannot be read, and go on.
        max_pixels: an image of more cannot.

    Raises:
        UsageError: where there is no trained network, or an image cannot be read.
    """
    images = [images] if isinstance(images, str | Path) else images
    check_prediction(run, images)
    if limit is not None and limit < 1:
        raise UsageError(expected="a limit of 1 image or more", received=str(limit), remedy="Leave it out for all.")
    network, config = load_network(run)
    sources = islice(_sources(run, images, config, Reading(skip_bad, max_pixels)), limit)
    while chunk := [_read(source, config, skip_bad, max_pixels) for source in islice(sources, AT_ONCE)]:
        pictures = [each.image for each in chunk if not isinstance(each, Skipped)]
        results = iter(_results(network, config, pictures))
        for each in chunk:
            if isinstance(each, Skipped):
                yield each
            else:
                yield Prediction(each.name, next(results), each.truth, each.image)


def pictures_of(run: str | Path, images: Sequence[str | Path], config: WeightsConfig) -> Iterator[Picture]:
    """Yield the pictures that `predict` would judge."""
    for source in _sources(run, images, config, Reading()):
        read = _read(source, config, False, MAX_PIXELS)
        assert isinstance(read, _Read)
        yield read.image


def _results(network: nn.Module, config: WeightsConfig, pictures: Sequence[Picture]) -> Sequence[Classes | Number]:
    if not pictures:
        return ()
    inputs = [normalise(fit(picture, config.preprocessing), config.preprocessing) for picture in pictures]
    (outputs,) = outputs_of(network, [torch.cat(inputs)])
    return to_numbers(outputs, config.scale) if config.scale else to_classes(outputs, config.classes)


def _read(source: _Source, config: WeightsConfig, skip_bad: bool, max_pixels: int) -> "_Read | Skipped":
    if isinstance(source.image, Picture):
        return _Read(source.name, source.image, source.truth)
    try:
        return _Read(source.name, read_image(source.image, config.in_chans, max_pixels), source.truth)
    except ImageFileError as error:
        if not skip_bad:
            raise
        return Skipped(source.name, error.reason)


class _Read(NamedTuple):
    name: str
    image: Picture
    truth: str | float | None


def _sources(
    run: str | Path, images: Iterable[str | Path], config: WeightsConfig, reading: Reading
) -> Iterator[_Source]:
    for image in images:
        path = Path(image)
        if str(image) == STANDARD_INPUT:
            yield from _given()
        elif is_own_data(run, image):
            yield from _unseen(run, config, reading)
        elif path.is_dir():
            found = list_images(path)
            if not found:
                raise UsageError(
                    expected=f"image files in {spell(path)}", received="none", remedy="Give another folder, or files."
                )
            yield from (_Source(spell(each), each) for each in found)
        else:
            yield _Source(spell(path), path)


def _given() -> Iterator[_Source]:
    """Yield what comes by standard input: the names of files, or an image."""
    data = sys.stdin.buffer.read()
    try:
        text = data.decode("utf-8")
        names = text.split("\0") if "\0" in text else text.splitlines()
        is_list = all(name.isprintable() or "\0" in text for name in names) and not text.startswith(NETPBM)
    except UnicodeDecodeError:
        is_list = False
    if not data.strip():
        raise UsageError(
            expected="the names of image files, or an image, by standard input",
            received="nothing",
            remedy="Such as: find photos -name '*.jpg' -print0 | striate predict RUN -",
        )
    if not is_list:
        yield _Source(STANDARD_INPUT, data)
        return
    yield from (_Source(spell(name), Path(name)) for name in names if name)


NETPBM = tuple(f"P{number}\n" for number in range(1, 7))


def _unseen(run: str | Path, config: WeightsConfig, reading: Reading) -> Iterator[_Source]:
    asked = RunFolder.find(run).config()
    _, unseen = open_data(asked.data, asked.seed, reading).judged
    if isinstance(unseen, ImageTensors):
        unseen = unseen.prepared(config.in_chans, unseen.image_size, None)
    for place, label in enumerate(unseen.labels.tolist()):
        image = unseen.paths[place] if isinstance(unseen, ImageFiles) else unseen.picture(place)
        yield _Source(unseen.source(place), image, unseen.classes[label] if unseen.classes else float(label))
