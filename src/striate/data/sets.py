"""Images with labels, and their parts: to train on, to choose by, and to test on once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from striate.data.transforms import resize
from striate.errors import UsageError


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Labelled images in memory.

    Args:
        images: N x C x H x W, 0 black to 255.
        labels: the class of each, an index into ``classes``.
        classes: their names.
    """

    images: UInt8[Tensor, "N C H W"]
    labels: Int64[Tensor, " N"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.images.shape[1]

    def subset(self, indices: Sequence[int] | Int64[Tensor, " M"]) -> "ImageSet":
        """Return the images of the given indices, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def resized(self, image_size: tuple[int, int]) -> "ImageSet":
        """Return the set with every image at (height, width)."""
        return replace(self, images=resize(self.images, image_size))

    def with_channels(self, channels: int) -> "ImageSet":
        """Return the set with grey images repeated for each channel.

        Raises:
            UsageError: where the images have another number of channels, neither 1 nor that.
        """
        if self.channels not in (1, channels):
            raise UsageError(
                expected=f"images of {channels} channels, or grey ones",
                received=f"{self.channels} channels",
                remedy=f"Use --in-chans {self.channels}.",
            )
        return replace(self, images=self.images.expand(-1, channels, -1, -1).contiguous())


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set in its three parts.

    Args:
        name: the embedded name, or the folder's.
        train: to learn from.
        val: to choose by: the best epoch, when to stop.
        test: to say how good it is, once.
    """

    name: str
    train: ImageSet
    val: ImageSet
    test: ImageSet

    def prepared(self, channels: int, image_size: tuple[int, int]) -> "Splits":
        """Return the parts with the channels and the size that a network takes."""
        train, val, test = (
            part.with_channels(channels).resized(image_size) for part in (self.train, self.val, self.test)
        )
        return replace(self, train=train, val=val, test=test)

    def fingerprint(self) -> str:
        """Return a digest of every image and label, which changes when any of them does."""
        digest = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            digest.update(repr((part.classes, tuple(part.images.shape))).encode())
            digest.update(part.images.contiguous().numpy().data)
            digest.update(part.labels.contiguous().numpy().data)
        return digest.hexdigest()


def split_by_class(
    labels: Int64[Tensor, " N"], share: float, seed: int
) -> tuple[Int64[Tensor, " rest"], Int64[Tensor, " part"]]:
    """Divide the indices 0..N-1 into the rest and a part that holds ``share`` of every class, rounded.

    Both come in an order drawn from ``seed``; each class with two images or more has one in both.
    """
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    shuffled = labels[order]
    taken = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(shuffled.max()) + 1):
        members = (shuffled == label).nonzero().squeeze(1)
        count = max(min(max(round(share * len(members)), 1), len(members) - 1), 0)
        taken[members[:count]] = True
    return order[~taken], order[taken]
