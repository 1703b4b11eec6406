"""What a trained classifier sees at each place of images of any size, within a budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from striate.inference.convolutional import FullyConvolutional
from striate.inference.folding import make_ready
from striate.jobs.convert import load_map_network
from striate.jobs.predict import Skipped, find_sources
from striate.jobs.questions import check_map
from striate.jobs.sweeps import Opened, Sweeper, Sweeping, Terms, look_at_each, small
from striate.results import ClassMap
from striate.units import parse_bytes
from striate.weights import WeightsConfig


@dataclass(frozen=True, slots=True)
class Mapped:
    """One image, and what a network says of each place of it.

    Args:
        source: the file, or the data set and the image's place in its part.
        result: the classes at each place.
        image: for people to look at: of 1,024 pixels a side at most.
        parts: in which it was computed.
        peak: bytes that this was predicted to take, the network and what was decoded of the image included; None
            without a budget.
    """

    source: str
    result: ClassMap
    image: UInt8[np.ndarray, "h w c"]
    parts: int
    peak: int | None


def map_classes(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    image_size: int | None = None,
    memory: str | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    max_pixels: int | None = None,
) -> Iterator[Sweeping | Mapped | Skipped]:
    """Yield what a trained classifier says of each place of images, and how far it is.

    Args:
        run: the folder of a run, or of weights with their config, whether converted or not.
        images: as for `predict`.
        image_size: pixels that the shorter side is scaled to; its own by default. No image is smaller than the window.
        memory: bytes of tensors and pixels that an image may take, such as ``500MB``: more and smaller parts are taken
            then, with the same result.
        limit: at most so many images.
        skip_bad: yield a `Skipped` for an image that cannot be read, and go on.
        max_pixels: an image of more cannot; by default, one of more than 90 million, unless it is a TIFF that is read
            part by part, and there is a budget.

    Raises:
        UsageError: where there is no trained classifier, or an image cannot be read.
        BudgetError: where ``memory`` is too little.
    """
    images = [images] if isinstance(images, str | Path) else images
    check_map(run, images, limit)
    budget = None if memory is None else parse_bytes(memory)
    network, config = load_map_network(run)
    layout = make_ready(network)
    sources = islice(find_sources(run, images, config), limit)
    terms = Terms(image_size, network.window, budget, max_pixels, skip_bad)
    yield from look_at_each(
        sources, config, terms, partial(_map, network, config, Sweeper(network, config, budget, layout))
    )


def _map(
    network: FullyConvolutional, config: WeightsConfig, sweeper: Sweeper, opened: Opened
) -> Iterator[Sweeping | Mapped]:
    windows = opened.windows
    shares = torch.empty(len(config.classes), *network.places(windows.size))
    found = sweeper.on(windows, shares.nbytes)
    for tile in found.tiles:
        if tile.values is not None and tile.region is not None:
            (top, bottom), (first, last) = tile.region
            shares[:, top:bottom, first:last] = tile.values[0].softmax(0)
        yield Sweeping(tile.done, tile.total)
    result = ClassMap(config.classes, shares.numpy(), network.window, network.stride, windows.size)
    yield Mapped(opened.source, result, small(windows, config.in_chans), found.parts, found.peak)
