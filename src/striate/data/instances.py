"""Pictures whose pixels say which thing they are of: 0 none, 1 the first, and so on. Boxes are the bounds of these."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from striate.data.annotations import Annotation, Instance, tidied, unreadable
from striate.data.frames import Size
from striate.data.images import ImageFileError
from striate.data.listing import ORDER, PARTS, Item, Listing
from striate.data.outlines import Numbered, read_numbers
from striate.data.pairs import IMAGES, matched
from striate.files import spell
from striate.units import format_size

THING = "object"  # The one class: such pictures name none.
MOST = 1000  # Things in a picture; one of more is no picture of things.


@dataclass(frozen=True, slots=True)
class InstanceMask:
    """What is known of one image.

    Args:
        path: of the picture, which has the image's size.
    """

    path: Path

    def read(self, size: Size) -> Annotation:
        """Return what is known of an image of (height, width)."""
        try:
            digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
            held = read_numbers(self.path, size[0] * size[1])
        except (OSError, ImageFileError) as error:
            reason = error.reason if isinstance(error, ImageFileError) else error.strerror or str(error)
            return unreadable(f"its mask {spell(self.path.name)}: {reason}")
        if held.shape != size:
            return unreadable(f"a mask of {format_size(held.shape)} for an image of {format_size(size)} pixels")
        numbers = [number for number in np.unique(held).tolist() if number]
        if len(numbers) > MOST:
            return unreadable(f"its mask {spell(self.path.name)}: {len(numbers):,} things")
        found = []
        for number in numbers:
            rows, columns = ((held == number).any(side).nonzero()[0] for side in (1, 0))
            box = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
            found.append(Instance(box, THING, outline=Numbered(self.path, number)))
        return tidied(found, size, said=None, digest=digest)


def has_instances(path: Path) -> bool:
    """Tell whether a folder has folders of images and of masks."""
    return path.is_dir() and any(True for _ in _folders(path))


def list_instances(path: Path) -> Listing:
    """List the images of a folder with one of images and one of masks, whose names end in images and masks.

    Each mask has its image's name, or that and ``_mask``; folders train, val and test may have such folders each.

    Raises:
        UsageError: for an image without a mask.
    """
    items, others = list[Item](), list[Path]()
    for part, images, masks in sorted(_folders(path), key=lambda found: ORDER.index(found[0])):
        for item in matched(part, images, masks, others):
            assert item.mask is not None
            items.append(Item(item.path, part, "", annotated=InstanceMask(item.mask)))
    return Listing(path, tuple(items), {}, others=tuple(others))


def _folders(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield the folders of images and of masks of each part."""
    parts = [(PARTS[each.name], each) for each in sorted(root.iterdir()) if each.is_dir() and each.name in PARTS]
    for part, folder in (("", root), *parts):
        inside = {each.name.lower(): each for each in sorted(folder.iterdir()) if each.is_dir()}
        images = next((each for name, each in inside.items() if name in IMAGES or name.endswith("images")), None)
        masks = next((each for name, each in inside.items() if name == "mask" or name.endswith("masks")), None)
        if images is not None and masks is not None:
            yield part, images, masks
            if not part:
                return
