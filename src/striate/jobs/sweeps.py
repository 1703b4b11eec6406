"""Images of any size through a network part by part: what jobs share that look at each place of an image."""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from striate.costing.devices.cpu import cpu
from striate.counted import Counted
from striate.data.frames import Size
from striate.data.images import ImageFileError
from striate.data.names import MAX_PIXELS
from striate.data.transforms import normalise
from striate.data.windows import PictureWindows, Windows, open_windows
from striate.inference.tiles import Tile, Tiled
from striate.inference.tiles.steps import Region, whole
from striate.jobs.predict import PASS_OVER, Skipped, Source, prepare
from striate.shapes import Span
from striate.weights import WeightsConfig

SHOWN = 1024  # Pixels of the longer side of what people look at.
BLOCK = 512  # Pixels of each side of what is read for that at once.
Record = TypeVar("Record")


class Sweeping(Counted):
    """Parts of an image are done."""

    what = "parts of the image"


@dataclass(frozen=True, slots=True)
class Terms:
    """How images are opened.

    Args:
        side: pixels that the shorter side is scaled to; None for the image's own.
        smallest: (height, width) that a smaller image is scaled up to.
        budget: bytes that an image may take; None for as many as it takes.
        max_pixels: an image of more cannot; None for the usual rule: `MAX_PIXELS`, and any number for a TIFF that is
            read part by part, where there is a budget.
        skip_bad: whether images that cannot be read are passed over.
    """

    side: int | None
    smallest: Size
    budget: int | None
    max_pixels: int | None
    skip_bad: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """An image whose parts can be read.

    Args:
        source: its name.
        size: its own (height, width).
        windows: its pixels, perhaps scaled.
    """

    source: str
    size: Size
    windows: Windows


def look_at_each(
    sources: Iterable[Source], config: WeightsConfig, terms: Terms, look: Callable[[Opened], Iterator[Record]]
) -> Iterator[Record | Skipped]:
    """Yield what ``look`` says of each image while it is open.

    Raises:
        ImageFileError: where one cannot be read, unless such are passed over.
    """
    for source in sources:
        try:
            with ExitStack() as stack:
                yield from look(_open(source, config, terms, stack))
        except ImageFileError as error:
            if not terms.skip_bad:
                error.remedy = f"{error.remedy} {PASS_OVER}"
                raise
            yield Skipped(source.name, error.reason)


def _open(source: Source, config: WeightsConfig, terms: Terms, stack: ExitStack) -> Opened:
    limit = MAX_PIXELS if terms.max_pixels is None else terms.max_pixels
    if isinstance(source.image, Path) and terms.side is None:
        is_usual = terms.max_pixels is None and terms.budget is not None
        windows = stack.enter_context(open_windows(source.image, config.in_chans, None if is_usual else limit))
        if all(is_ >= wanted for is_, wanted in zip(windows.size, terms.smallest, strict=True)):
            return Opened(source.name, windows.size, windows)
    picture = prepare(source, config, limit)
    own, size = picture.size, _scaled(picture.size, terms)
    if size != own:
        picture = picture.scaled(size, config.preprocessing.interpolation)
    return Opened(source.name, own, PictureWindows(picture))


def _scaled(size: Size, terms: Terms) -> Size:
    """Return what an image's size becomes."""
    scale = 1.0 if terms.side is None else terms.side / min(size)
    scale = max(scale, *(wanted / is_ for is_, wanted in zip(size, terms.smallest, strict=True)))
    height, width = (max(round(is_ * scale), wanted) for is_, wanted in zip(size, terms.smallest, strict=True))
    return height, width


@dataclass(frozen=True, slots=True)
class Sweep:
    """How a network is run on one image.

    Args:
        parts: in which.
        peak: bytes that this was predicted to take; None without a budget.
        tiles: the parts as they come.
    """

    parts: int
    peak: int | None
    tiles: Iterator[Tile]


class Sweeper:
    """A network on one image after the other.

    Args:
        network: of one image to one tensor.
        config: how to feed it.
        budget: bytes that an image may take; None for the whole of it at once.
        layout: of the network's images.
    """

    def __init__(
        self, network: nn.Module, config: WeightsConfig, budget: int | None, layout: torch.memory_format
    ) -> None:
        self._network, self._config, self._budget, self._layout = network.eval(), config, budget, layout
        if budget is not None:
            gc.collect()  # Tracing leaves circles that hold maps, and what a budget counts is all that is there.
        # Images often are of one size, and planning takes time.
        self._last: tuple[tuple[Size, int], Tiled] | None = None

    def on(self, windows: Windows, result: int) -> Sweep:
        """Return how the network is run on an image.

        Args:
            windows: the image.
            result: bytes that the result takes.

        Raises:
            BudgetError: where the budget is too little.
        """

        def read(region: Region) -> Float32[Tensor, "1 C h w"]:
            pixels = normalise(windows.read(*region).unsqueeze(0), self._config.preprocessing)
            return pixels.contiguous(memory_format=self._layout)

        if self._budget is None:
            return Sweep(1, None, self._at_once(read, windows.size))
        key = windows.size, windows.held + result
        if self._last is None or self._last[0] != key:
            like = torch.empty(1, self._config.in_chans, *windows.size, device="meta")
            like = like.contiguous(memory_format=self._layout)
            self._last = key, Tiled(self._network, like, cpu(), self._budget, reserved=key[1])
        tiled = self._last[1]
        return Sweep(tiled.parts, tiled.peak, tiled.run(read))

    def _at_once(self, read: Callable[[Region], Tensor], size: Size) -> Iterator[Tile]:
        with torch.inference_mode():
            values = self._network(read(whole((1, 1, *size))))
        yield Tile(1, 1, whole(values.shape), values)


def step_shown(size: Size) -> int:
    """Return of how many rows, and columns, one is taken to make an image small enough to look at."""
    return max(-(-max(size) // SHOWN), 1)


def small(windows: Windows, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Return an image for people to look at, of 1,024 pixels a side at most, grey or of colour.

    It is read in squares, not in rows: tiles of a file would be decoded once for each row of pixels that is taken.
    """
    step, (height, width) = step_shown(windows.size), windows.size
    shown = 3 if channels >= 3 else 1
    made = np.empty((-(-height // step), -(-width // step), shown), np.uint8)
    block = max(BLOCK // step, 1) * step
    for top, left in product(range(0, height, block), range(0, width, block)):
        read = windows.read(Span(top, min(top + block, height)), Span(left, min(left + block, width)))
        part = read[:shown, ::step, ::step].permute(1, 2, 0).numpy()
        made[top // step :, left // step :][: part.shape[0], : part.shape[1]] = part
    return made
