"""Images in files, with a mask for each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor
from typing_extensions import Buffer

from striate.data.frames import Framing, middle
from striate.data.images import Picture
from striate.data.masks import MaskClasses, read_mask
from striate.data.sets import ImageFiles
from striate.results import UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedFiles(ImageFiles):
    """Images in files of their own, with a class for each pixel. The label of an image as a whole is 0 for all.

    Args:
        masks: a file for each image, of its size.
        mask_digests: of these files' bytes.
        mask_classes: how what they hold becomes classes.
    """

    masks: tuple[Path, ...]
    mask_digests: tuple[str, ...]
    mask_classes: MaskClasses

    def subset(self, indices: Sequence[int] | Int64[Tensor, " M"]) -> "MaskedFiles":
        """Return the images of the given indices, in that order."""
        places = torch.as_tensor(indices, dtype=torch.int64).tolist()
        return replace(
            ImageFiles.subset(self, indices),
            masks=tuple(self.masks[place] for place in places),
            mask_digests=tuple(self.mask_digests[place] for place in places),
        )

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
        classes = read_mask(self.masks[place], self.mask_classes, self.max_pixels)
        return Picture((Image.fromarray(classes),))

    def pixels_of_classes(self) -> Int64[Tensor, " K"]:
        """Return how many pixels of all masks, as they are in their files, are of each class."""
        counts = np.zeros(UNKNOWN + 1, np.int64)
        for path in self.masks:
            counts += np.bincount(read_mask(path, self.mask_classes, self.max_pixels).ravel(), minlength=len(counts))
        return torch.from_numpy(counts[: len(self.classes)])

    def contents(self) -> Iterable[Buffer]:
        """Yield the digest of each file, and what the masks' numbers mean."""
        yield from ImageFiles.contents(self)
        for digest in self.mask_digests:
            yield digest.encode()
        yield repr((self.mask_classes.names, sorted(self.mask_classes.numbers.items()))).encode()
