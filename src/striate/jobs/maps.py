"""What a trained classifier sees at each place of images of any size, within a budget."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from striate.costing.devices.cpu import cpu
from striate.counted import Counted
from striate.data.frames import Size
from striate.data.images import ImageFileError
from striate.data.names import MAX_PIXELS
from striate.data.transforms import normalise
from striate.data.windows import PictureWindows, Windows, open_windows
from striate.inference.convolutional import FullyConvolutional
from striate.inference.folding import fold_norms
from striate.inference.tiles import Tiled
from striate.inference.tiles.steps import Region
from striate.jobs.convert import load_map_network
from striate.jobs.predict import PASS_OVER, Skipped, Source, find_sources, prepare
from striate.jobs.usage import check_map
from striate.results import ClassMap
from striate.shapes import Span
from striate.units import parse_bytes
from striate.weights import WeightsConfig

SHOWN = 1024  # Pixels of the longer side of what is painted on.
BAND_BYTES = 1_000_000  # Of it, read at once.


class Sweeping(Counted):
    """Parts of an image are done."""

    what = "parts of the image"


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
    max_pixels: int = MAX_PIXELS,
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
        max_pixels: an image of more cannot, unless it is a TIFF that is read part by part, and there is a budget.

    Raises:
        UsageError: where there is no trained classifier, or an image cannot be read.
        BudgetError: where ``memory`` is too little.
    """
    images = [images] if isinstance(images, str | Path) else images
    check_map(run, images, limit)
    budget = None if memory is None else parse_bytes(memory)
    network, config = load_map_network(run)
    fold_norms(network)
    for source in islice(find_sources(run, images, config), limit):
        try:
            with ExitStack() as stack:
                is_limited = budget is None or max_pixels != MAX_PIXELS
                windows = _open(source, config, network.window, image_size, max_pixels, is_limited, stack)
                yield from _map(source.name, network, config, windows, budget)
        except ImageFileError as error:
            if not skip_bad:
                error.remedy = f"{error.remedy} {PASS_OVER}"
                raise
            yield Skipped(source.name, error.reason)


def _open(
    source: Source,
    config: WeightsConfig,
    window: Size,
    side: int | None,
    max_pixels: int,
    is_limited: bool,
    stack: ExitStack,
) -> Windows:
    if isinstance(source.image, Path) and side is None:
        limit = max_pixels if is_limited else None
        windows = stack.enter_context(open_windows(source.image, config.in_chans, limit))
        if all(is_ >= wanted for is_, wanted in zip(windows.size, window, strict=True)):
            return windows
    picture = prepare(source, config, max_pixels)
    size = _scaled(picture.size, window, side)
    return PictureWindows(picture if size == picture.size else picture.scaled(size, config.preprocessing.interpolation))


def _scaled(size: Size, window: Size, side: int | None) -> Size:
    """Return the size of an image whose shorter side is ``side``, or as long as it takes to hold a window."""
    scale = 1.0 if side is None else side / min(size)
    scale = max(scale, *(wanted / is_ for is_, wanted in zip(size, window, strict=True)))
    height, width = (max(round(is_ * scale), wanted) for is_, wanted in zip(size, window, strict=True))
    return height, width


def _map(
    name: str, network: FullyConvolutional, config: WeightsConfig, windows: Windows, budget: int | None
) -> Generator[Sweeping | Mapped, None, None]:
    def read(region: Region) -> Float32[Tensor, "1 C h w"]:
        pixels = normalise(windows.read(*region).unsqueeze(0), config.preprocessing)
        return pixels.contiguous(memory_format=torch.channels_last)

    height, width = windows.size
    like = torch.empty(1, config.in_chans, height, width, device="meta").contiguous(memory_format=torch.channels_last)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    places = network.places(windows.size)
    result_bytes = len(config.classes) * places[0] * places[1] * torch.float32.itemsize
    tiled = Tiled(network, like, cpu(), budget, reserved=windows.held + result_bytes)
    shares = torch.empty(len(config.classes), *places)
    for tile in tiled.run(read):
        if tile.values is not None and tile.region is not None:
            (top, bottom), (first, last) = tile.region
            shares[:, top:bottom, first:last] = tile.values[0].softmax(0)
        yield Sweeping(tile.done, tile.total)
    result = ClassMap(config.classes, shares.numpy(), network.window, network.stride, windows.size)
    yield Mapped(name, result, _small(windows, config.in_chans), tiled.parts, None if budget is None else tiled.peak)


def _small(windows: Windows, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Return an image for people to look at, read in bands."""
    height, width = windows.size
    step = max(-(-max(height, width) // SHOWN), 1)
    rows = max(BAND_BYTES // (channels * width * step), 1) * step
    bands = (Span(top, min(top + rows, height)) for top in range(0, height, rows))
    pixels = torch.cat([windows.read(band, Span(0, width))[:, ::step, ::step].clone() for band in bands], 1)
    return pixels[: 3 if len(pixels) >= 3 else 1].permute(1, 2, 0).contiguous().numpy()
