"""A data set looked at, file by file, before anything is trained on it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.data.annotations import Instance
from striate.data.box_checks import boxes_of_classes, sides_of_boxes
from striate.data.box_targets import reframe
from striate.data.boxed import boxes_of
from striate.data.checks import find_problems, pixels_of_classes
from striate.data.findings import Finding
from striate.data.frames import whole
from striate.data.images import ImageFileError, read_image
from striate.data.inspection import Inspected
from striate.data.listing import Listing
from striate.data.masks import read_mask
from striate.data.names import find_data
from striate.data.reading import Inspecting, Reading, inspect_all, list_files
from striate.data.source import tensor_reader
from striate.errors import UsageError
from striate.files import spell
from striate.reporting.boxes import box_colours, draw_boxes
from striate.reporting.masks import lay_over, usual_colours
from striate.reporting.page import Page
from striate.units import format_bytes

SHOWN, ALIKE = 12, 4
MASKED_SIDE = 256  # Pixels of an image under its mask, or with its boxes.
NOTHING = "nothing to mend before training"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a data set is, and what is wrong with it.

    Args:
        listing: its files.
        files: the same, looked at.
        findings: severe ones first.
        counts: images of each part and class; pixels where images have masks, and boxes where they have these.
    """

    listing: Listing
    files: tuple[Inspected, ...]
    findings: tuple[Finding, ...]
    counts: Counter[tuple[str, str]]

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The classes of each part; none where numbers are learned."""
        if self.listing.has_boxes:
            own = self.listing.classes.items()
            return {part: tuple(dict.fromkeys((*self.listing.names, *names))) for part, names in own}
        if self.listing.mask_classes is None:
            return self.listing.classes
        return dict.fromkeys(self.listing.parts, self.listing.names)

    @property
    def counted(self) -> str:
        """What `counts` counts."""
        if self.listing.has_boxes:
            return "boxes"
        return "images" if self.listing.mask_classes is None else "pixels"

    @property
    def severe(self) -> int:
        """Things that would make training on it wrong."""
        return sum(finding.severe for finding in self.findings)

    @property
    def facts(self) -> dict[str, dict[str, int]]:
        """How many files are of each format, mode and number of channels."""
        headers = [file.header for file in self.files if file.header is not None]
        return {
            "format": dict(Counter(header.format for header in headers).most_common()),
            "mode": dict(Counter(header.mode for header in headers).most_common()),
            "channels": dict(Counter(str(header.channels) for header in headers).most_common()),
        }

    @property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """The smallest, the middle and the largest height, width, number of bytes; of boxes, and of their sides."""
        headers = [file.header for file in self.files if file.header is not None]
        columns = {
            "height": [header.size[0] for header in headers],
            "width": [header.size[1] for header in headers],
            "bytes": [file.size_bytes for file in self.files if file.header is not None],
            **{
                f"box {side}": [round(length) for length in lengths]
                for side, lengths in zip(("height", "width"), sides_of_boxes(self.files), strict=True)
            },
            "boxes an image": [
                len(file.annotation.instances)
                for file in self.files
                if file.annotation is not None and not file.problem
            ],
        }
        return {
            name: (min(values), sorted(values)[len(values) // 2], max(values))
            for name, values in columns.items()
            if values
        }


def check(data: str, reading: Reading | None = None) -> Iterator[Inspecting | Checked]:
    """Look at every file of a data set, yielding records while it goes on; the last is a `Checked`.

    Args:
        data: a folder of images by class, a CSV table, or images with masks or boxes, as ``reading`` says.
        reading: how files are read.

    Raises:
        UsageError: where there are no image files.
    """
    reading, path = reading or Reading(), find_data(data)
    if path is None or tensor_reader(path) is not None:
        raise UsageError(
            expected="a folder of images, or a CSV table of them",
            received=f"{data}, which has no files of images",
            remedy="Files of MNIST's and CIFAR's formats, and sets with a name, are checked whenever they are read.",
        )
    listing = list_files(path, reading)
    listing, files = yield from inspect_all(listing, reading, decode=True)
    if listing.has_boxes:
        counts = boxes_of_classes(files)
    elif listing.mask_classes is None:
        counts = Counter((item.part, item.label) for item in listing.items if isinstance(item.label, str))
    else:
        counts = pixels_of_classes(listing, files)
    yield Checked(listing, files, tuple(find_problems(listing, files)), counts)


def write_check_page(path: Path, checked: Checked, max_pixels: int) -> None:
    """Write what was found as one page, with a sheet of each class's images."""
    listing = checked.listing
    verdict = f"{checked.severe:,} things to mend before training" if checked.severe else NOTHING
    page = Page(f"Check of {spell(listing.root)}", f"{len(checked.files):,} images: {verdict}")
    page.heading("What was found")
    if checked.findings:
        rows = [(each.kind, "mend" if each.severe else "", each.text) for each in checked.findings]
        page.table(["kind", "", "what"], rows, sortable=True)
    else:
        page.text("Nothing.")
    pairs = [finding for finding in checked.findings if finding.kind in ("two labels", "two parts", "duplicate")]
    if pairs:
        page.heading("There twice")
        page.pictures(
            [
                (pixels, f"{file.item.part} {file.item.label} {spell(file.item.path.name)}".strip())
                for finding in pairs[:SHOWN]
                for file in finding.files[:ALIKE]
                if (pixels := _thumbnail(file, max_pixels)) is not None
            ]
        )
    page.heading("Sizes")
    page.table(
        ["", "smallest", "middle", "largest"],
        [(name, *(format_bytes(v) if name == "bytes" else v for v in row)) for name, row in checked.sizes.items()],
    )
    for name, counts in checked.facts.items():
        page.text(f"{name}: {', '.join(f'{value} {count:,}' for value, count in counts.items())}")
    if checked.counted != "images":
        page.heading(checked.counted.capitalize())
        page.table(
            ["class", *(part or "all" for part in listing.parts)],
            [(name, *(checked.counts[part, name] for part in listing.parts)) for name in listing.names],
            sortable=True,
        )
    page.heading("Images")
    sheets: dict[tuple[str, str], list[Inspected]] = defaultdict(list)
    for file in checked.files:
        if not file.problem:
            sheets[file.item.part, file.item.label if isinstance(file.item.label, str) else ""].append(file)
    for part in listing.parts:
        for label in ("",) if listing.has_boxes else listing.classes.get(part, ("",)):
            files = sheets[part, label]
            page.heading(" ".join(filter(None, (part, label, f"({len(files):,})"))), 3)
            shown = [files[place * len(files) // SHOWN] for place in range(SHOWN)] if len(files) > SHOWN else files
            page.pictures(
                [
                    (pixels, spell(file.item.path.name) if label or listing.has_masks else f"{file.item.label}")
                    for file in shown
                    if (pixels := _thumbnail(file, max_pixels, listing)) is not None
                ]
            )
    page.write(path)


def _thumbnail(file: Inspected, max_pixels: int, listing: Listing | None = None) -> NDArray[np.uint8] | None:
    """Return an image for people to look at, with its mask or its boxes where the data's ``listing`` is given."""
    try:
        assert file.header is not None
        picture = read_image(file.item.path, file.header.channels, max_pixels)
        masks = None if listing is None else listing.mask_classes
        if masks is not None and file.item.mask is not None:
            mask = read_mask(file.item.mask, masks, max_pixels)
            small = picture.thumbnail(MASKED_SIDE)
            sides = zip(small.shape, mask.shape, strict=False)
            rows, columns = (np.arange(side) * every // side for side, every in sides)
            return lay_over(small, mask[rows][:, columns], masks.colours or usual_colours(len(masks.names)))
        if listing is not None and file.annotation is not None:
            return _framed(picture.thumbnail(MASKED_SIDE), picture.size, file.annotation.instances, listing.names)
        return picture.thumbnail()
    except ImageFileError:  # It has gone since it was looked at.
        return None


def _framed(
    small: NDArray[np.uint8], size: tuple[int, int], instances: Sequence[Instance], names: Sequence[str]
) -> NDArray[np.uint8]:
    """Return a small image of one of (height, width) with a frame around each thing."""
    every = list(dict.fromkeys((*names, *(instance.label for instance in instances))))
    moved = reframe(boxes_of(instances), whole(size), (small.shape[0], small.shape[1]))
    labels = np.array([every.index(instance.label) for instance in instances], np.int64)
    ignored = [instance.ignored for instance in instances]
    return draw_boxes(small, moved.xyxy.numpy(), labels, box_colours(len(every)), ignored)
