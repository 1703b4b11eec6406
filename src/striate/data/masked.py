"""Images in files, with a mask for each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor
from typing_extensions import Buffer

from striate.data.frames import Framing, middle
from striate.data.images import Picture
from striate.data.masks import MaskClasses, read_mask
from striate.data.sets import ImageFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedFiles(ImageFiles):
    """Images in files of their own, with a class for each pixel. The label of an image as a whole is 0 for all.

    Args:
        masks: a file for each image, of its size.
        mask_digests: of what they hold.
        mask_classes: how that becomes classes.
        mask_pixels: of each image, those of each class.
    """

    masks: tuple[Path, ...]
    mask_digests: tuple[str, ...]
    mask_classes: MaskClasses
    mask_pixels: Int64[Tensor, "N K"]

    def columns(self, places: Sequence[int]) -> dict[str, Any]:
        """Return all that has an entry for each image, for some of them."""
        return ImageFiles.columns(self, places) | {
            "masks": tuple(self.masks[place] for place in places),
            "mask_digests": tuple(self.mask_digests[place] for place in places),
            "mask_pixels": self.mask_pixels[places],
        }

    def known(self, framing: Framing | None = None) -> UInt8[Tensor, "N H W"]:
        """Read the masks, as prepared: the parts that `pixels` gives of their images, each pixel that of the nearest.

        Raises:
            ImageFileError: naming one that cannot be read.
        """
        made = torch.empty(len(self), *self.image_size, dtype=torch.uint8)
        for place in range(len(self)):
            mask = self.mask(place)
            frame = middle(mask.size, self.image_size, self.crop_pct) if framing is None else framing(place, mask.size)
            made[place] = mask.cut(frame, self.image_size, "nearest")[0]
        return made

    def mask(self, place: int) -> Picture:
        """Read one mask whole."""
        path = self.masks[place]

        def decode() -> Picture:
            return Picture((Image.fromarray(read_mask(path, self.mask_classes, self.max_pixels)),))

        return decode() if self.kept is None else self.kept.picture(path, decode)

    def decoded(self) -> Iterator[tuple[Path, tuple[int, int, int]]]:
        """Yield the files that are decoded, each image before its mask."""
        for (path, shape), mask in zip(ImageFiles.decoded(self), self.masks, strict=True):
            yield path, shape
            yield mask, (*shape[:2], 1)

    def contents(self) -> Iterable[Buffer]:
        """Yield the digest of each file, and what the masks' numbers mean."""
        yield from ImageFiles.contents(self)
        for digest in self.mask_digests:
            yield digest.encode()
        yield repr((self.mask_classes.names, sorted(self.mask_classes.numbers.items()))).encode()
