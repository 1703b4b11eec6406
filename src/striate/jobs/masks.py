"""A class for each pixel of images of any size, within a budget, written as masks and as pictures for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor, nn

from striate.blocks.classifier import smallest_side
from striate.data.frames import Size
from striate.data.windows import TiffWindows
from striate.files import replace_file, unlike
from striate.inference.folding import make_ready
from striate.jobs.mask_files import mask_on_disk, write_png, write_tiff
from striate.jobs.predict import Skipped, find_sources
from striate.jobs.questions import check_masks
from striate.jobs.sweeps import Opened, Sweeper, Sweeping, Terms, look_at_each, small, step_shown
from striate.reporting.masks import lay_over, usual_colours
from striate.results import Mask
from striate.units import parse_bytes
from striate.weights import WeightsConfig
from striate.zoo import load_network

OUTPUT = "masks"
PICTURES = 2  # Of the image's size, a byte for each pixel, that are in memory while a PNG is written.


@dataclass(frozen=True, slots=True)
class Segmented:
    """One image, of each pixel of which a network said a class.

    Args:
        source: the file, or the data set and the image's place in its part.
        size: (height, width) of the image.
        mask: a picture of that size whose pixels are classes, in the network's order, with a palette of their colours:
            a TIFF of an image that was read part by part, else a PNG.
        overlay: the image under the mask's colours, of 1,024 pixels a side at most.
        shown: the mask as it is there.
        shares: of each class by its name, its share of the image's pixels.
        parts: in which it was computed.
        peak: bytes that this was predicted to take, the network and what was decoded of the image included; None
            without a budget.
    """

    source: str
    size: Size
    mask: Path
    overlay: Path
    shown: Mask
    shares: Mapping[str, float]
    parts: int
    peak: int | None


class _MostProbable(nn.Module):
    """The most probable class at each pixel, in a byte.

    As part of the network, it is counted with it, and logits are there of one part of an image at a time.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Float32[Tensor, "1 C H W"]) -> UInt8[Tensor, "1 H W"]:
        """Return its number among the classes."""
        logits: Tensor = self.network(image)
        return logits.argmax(1).to(torch.uint8)


def segment_images(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    output: str | Path = OUTPUT,
    image_size: int | None = None,
    memory: str | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    max_pixels: int | None = None,
) -> Iterator[Sweeping | Segmented | Skipped]:
    """Write what a trained network says of each pixel of images, and yield what it was, and how far this is.

    Args:
        run: the folder of a run, or of weights with their config.
        images: as for `predict`.
        output: the folder for masks and overlays, named after the images; files from before are replaced.
        image_size: pixels that the shorter side is scaled to before the network sees it; its own by default, or as
            many as the network needs at least. The mask has the image's own size again, each pixel the class of the
            nearest one.
        memory: bytes of tensors and pixels that an image may take, such as ``500MB``: more and smaller parts are taken
            then, with the same result.
        limit: at most so many images.
        skip_bad: yield a `Skipped` for an image that cannot be read, and go on.
        max_pixels: an image of more cannot; by default, one of more than 90 million, unless it is a TIFF that is read
            part by part, and there is a budget.

    Raises:
        UsageError: where there is no trained network of classes of pixels, or an image cannot be read.
        BudgetError: where ``memory`` is too little.
        StriateError: where the file system refuses.
    """
    images = [images] if isinstance(images, str | Path) else images
    check_masks(run, images, limit)
    budget = None if memory is None else parse_bytes(memory)
    network, config = load_network(run)
    layout = make_ready(network)
    sources = islice(find_sources(run, images, config), limit)
    least = smallest_side(network, config.in_chans) or 1
    terms = Terms(image_size, (least, least), budget, max_pixels, skip_bad)
    sweeper = Sweeper(_MostProbable(network), config, budget, layout)
    job = partial(_segment, sweeper, config, Path(output), set())
    yield from look_at_each(sources, config, terms, job)


def _segment(
    sweeper: Sweeper, config: WeightsConfig, folder: Path, taken: set[str], opened: Opened
) -> Iterator[Sweeping | Segmented]:
    windows = opened.windows
    is_in_parts = isinstance(windows, TiffWindows)
    result = 0 if is_in_parts else PICTURES * opened.size[0] * opened.size[1]
    found = sweeper.on(windows, result)
    with mask_on_disk(windows.size, opened.size, folder) as mask:
        for tile in found.tiles:
            if tile.values is not None and tile.region is not None:
                mask.put(tile.values[0].numpy(), tile.region)
            yield Sweeping(tile.done, tile.total)
        colours = config.colours or usual_colours(len(config.classes))
        name = unlike(Path(opened.source).stem, taken)
        path, overlay = folder / f"{name}-mask.{'tif' if is_in_parts else 'png'}", folder / f"{name}-overlay.png"
        (write_tiff if is_in_parts else write_png)(path, mask, colours)
        shown = Mask(config.classes, mask.small(step_shown(windows.size)))
        shares = mask.shares(len(config.classes))
    picture = Image.fromarray(lay_over(small(windows, config.in_chans), shown.classes, colours))
    replace_file(overlay, lambda beside: picture.save(beside, format="PNG"))
    yield Segmented(
        source=opened.source,
        size=opened.size,
        mask=path,
        overlay=overlay,
        shown=shown,
        shares=dict(zip(config.classes, shares.tolist(), strict=True)),
        parts=found.parts,
        peak=found.peak,
    )
