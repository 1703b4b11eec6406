"""Things in images: where each is, drawn for people and written for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor

from striate.counted import Counted
from striate.data.images import Picture, read_image
from striate.data.names import MAX_PIXELS
from striate.data.transforms import to_input
from striate.detection.found import detections_of, packed
from striate.detection.proposals import ProposalSearch
from striate.detection.scores import runs_of
from striate.files import replace_file, unlike
from striate.inference.folding import make_ready
from striate.jobs.judging_boxes import SURE
from striate.jobs.predict import Skipped, Source, find_sources, read_or_skip
from striate.jobs.questions import check_detections
from striate.jobs.searched import proposals_of, search_of
from striate.reporting.detections import draw_detections
from striate.results import Detections
from striate.weights import WeightsConfig
from striate.zoo import load_network

OUTPUT = "detections"
AT_ONCE = 4
COLOURS = 3  # Channels that are searched, however many the network takes.


class Looking(Counted):
    """Images are being looked at."""

    what = "looking for things"


@dataclass(frozen=True, slots=True)
class DetectedThings:
    """One image, and what a network found in it.

    Args:
        source: the file, or the data set and the image's place in its part.
        things: that are sure enough, the surest first.
        picture: the image with these, as a PNG.
    """

    source: str
    things: Detections
    picture: Path

    def masks(self) -> tuple[Mapping[str, Any], ...] | None:
        """Return the things' masks in COCO's compressed form, as JSON takes it; None where none are said."""
        if self.things.masks is None:
            return None
        every = (runs_of(self.things.mask(place)) for place in range(len(self.things)))
        return tuple({"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")} for runs in every)


class _Ready(NamedTuple):
    source: Source
    picture: Picture
    pixels: Float32[Tensor, "1 C H W"]
    proposals: tuple[Tensor, ...]


def detect_images(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    output: str | Path = OUTPUT,
    score: float = SURE,
    limit: int | None = None,
    skip_bad: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Looking | DetectedThings | Skipped]:
    """Draw what a trained network finds in images, and yield what it was, and how far this is.

    Args:
        run: the folder of a run, or of weights with their config.
        images: as for `striate.predict`.
        output: the folder for pictures, named after the images; files from before are replaced.
        score: of what is shown, at least.
        limit: at most so many images.
        skip_bad: yield a `Skipped` for an image that cannot be read, and go on.
        max_pixels: an image of more cannot.

    Raises:
        UsageError: where there is no trained network that finds things, or an image cannot be read.
        StriateError: where the file system refuses.
    """
    images = [images] if isinstance(images, str | Path) else images
    check_detections(run, images, limit, score)
    network, config = load_network(run)
    search, layout = search_of(network), make_ready(network)
    folder, taken = Path(output), set[str]()
    every = list(islice(find_sources(run, images, config), limit))
    sources, done = iter(every), 0
    while chunk := [_read(source, config, search, skip_bad, max_pixels) for source in islice(sources, AT_ONCE)]:
        ready = [each for each in chunk if isinstance(each, _Ready)]
        rows: Iterator[Tensor] = iter(())
        if ready:
            batch = torch.cat([each.pixels for each in ready]).contiguous(memory_format=layout)
            proposals = [torch.cat(each) for each in zip(*(each.proposals for each in ready), strict=True)]
            with torch.inference_mode():
                rows = iter(packed(network(batch, *proposals)))
        for each in chunk:
            done += 1
            if isinstance(each, Skipped):
                yield each
                continue
            found = detections_of(next(rows), config.classes, config.image_size, each.picture.size, score)
            path = folder / f"{unlike(Path(each.source.name).stem, taken)}-things.png"
            _write(path, draw_detections(each.picture.colours(), found))
            yield DetectedThings(each.source.name, found, path)
        yield Looking(done, len(every))


def _read(
    source: Source, config: WeightsConfig, search: ProposalSearch | None, skip_bad: bool, max_pixels: int
) -> _Ready | Skipped:
    picture = read_or_skip(source, config, skip_bad, max_pixels)
    if isinstance(picture, Skipped):
        return picture
    proposals: tuple[Tensor, ...] = ()
    if search is not None:
        coloured, stored = picture, source.image
        if config.in_chans < COLOURS and not isinstance(stored, Picture):
            coloured = read_image(stored, COLOURS, max_pixels)
        proposals = (proposals_of(coloured, search, config.image_size),)
    return _Ready(source, picture, to_input(picture, config.preprocessing), proposals)


def _write(path: Path, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    replace_file(path, lambda beside: Image.fromarray(pixels).save(beside, format="PNG"))
