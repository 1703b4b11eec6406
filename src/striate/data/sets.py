"""Images with what is known of each, and their parts: to train on, to choose by, and to test on once."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor
from typing_extensions import Buffer

from striate.data.box_targets import BoxTargets
from striate.data.frames import Frame, Framing, Size, middle, whole
from striate.data.images import Picture, picture_of, read_image
from striate.data.kept import KeptPictures
from striate.data.names import MAX_PIXELS
from striate.data.preprocessing import Interpolation
from striate.errors import UsageError
from striate.files import spell

Some = TypeVar("Some", bound="ImageSet")
Files = TypeVar("Files", bound="ImageFiles")
Labels = Int64[Tensor, " N"] | Float64[Tensor, " N"]


class ImageSet(ABC):
    """Images, wherever they are, each with its class or its number.

    Attributes:
        labels: of each image: the index of its class, or a number where there are no classes.
        classes: their names; none where a number is known of each image.
        is_in_memory: whether images cost no time to get.
    """

    labels: Labels
    classes: tuple[str, ...]
    is_in_memory: ClassVar[bool]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""

    @property
    @abstractmethod
    def image_size(self) -> Size:
        """(height, width) that `pixels` gives."""

    @abstractmethod
    def subset(self: Some, indices: Sequence[int] | Int64[Tensor, " M"]) -> Some:
        """Return the images of the given indices, in that order."""

    @abstractmethod
    def prepared(
        self: Some, channels: int, image_size: Size, crop_pct: float | None, interpolation: Interpolation = "bilinear"
    ) -> Some:
        """Return the set as a network takes it: the middle of each image, as `striate.data.frames.middle` says.

        Raises:
            UsageError: where the images cannot have so many channels.
        """

    @abstractmethod
    def pixels(self, framing: Framing | None = None) -> UInt8[Tensor, "N C H W"]:
        """Return all images as prepared, or the parts of them that ``framing`` chooses."""

    def known(self, _framing: Framing | None = None) -> Tensor | BoxTargets:
        """Return what is known of each image, as prepared: its label, or what a set of another kind has of it."""
        return self.labels

    @abstractmethod
    def picture(self, place: int) -> Picture:
        """Return one image whole."""

    @abstractmethod
    def source(self, place: int) -> str:
        """Return where one image comes from."""

    @abstractmethod
    def contents(self) -> Iterable[Buffer]:
        """Yield what changes when any image does."""


@dataclass(frozen=True, slots=True)
class ImageTensors(ImageSet):
    """Images of one size, in memory.

    Args:
        images: N x C x H x W, 0 black to 255.
        labels: of each.
        classes: their names.
        name: of the set and the part.
    """

    images: UInt8[Tensor, "N C H W"]
    labels: Labels
    classes: tuple[str, ...]
    name: str = ""
    is_in_memory: ClassVar[bool] = True

    @property
    def channels(self) -> int:
        """Of each image."""
        return self.images.shape[1]

    @property
    def image_size(self) -> Size:
        """(height, width) of each image."""
        return self.images.shape[2], self.images.shape[3]

    def subset(self, indices: Sequence[int] | Int64[Tensor, " M"]) -> "ImageTensors":
        """Return the images of the given indices, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def prepared(
        self, channels: int, image_size: Size, crop_pct: float | None, interpolation: Interpolation = "bilinear"
    ) -> "ImageTensors":
        """Return the images at the network's size, grey ones repeated for each channel."""
        if self.channels not in (1, channels):
            raise UsageError(
                expected=f"images of {channels} channels, or grey ones",
                received=f"{self.channels} channels",
                remedy=f"Use --in-chans {self.channels}.",
            )
        images = self.images
        frame = middle(self.image_size, image_size, crop_pct)
        if (self.image_size, frame) != (image_size, whole(image_size)):
            images = torch.stack([picture_of(image).cut(frame, image_size, interpolation) for image in images])
        return replace(self, images=images.expand(-1, channels, -1, -1).contiguous())

    def pixels(self, framing: Framing | None = None) -> UInt8[Tensor, "N C H W"]:
        """Return the images, or parts of them at the images' size."""
        if framing is None:
            return self.images
        return torch.stack(
            [
                picture_of(image).cut(framing(place, self.image_size), self.image_size)
                for place, image in enumerate(self.images)
            ]
        )

    def picture(self, place: int) -> Picture:
        """Return one image."""
        return picture_of(self.images[place])

    def source(self, place: int) -> str:
        """Return the set's name and the image's place in it."""
        return f"{self.name} {place}".lstrip()

    def contents(self) -> Iterable[Buffer]:
        """Yield all pixels."""
        yield repr(tuple(self.images.shape)).encode()
        yield self.images.contiguous().numpy().data


@dataclass(frozen=True, slots=True)
class ImageFiles(ImageSet):
    """Images in files of their own, read when they are asked for.

    Args:
        paths: of the files.
        labels: of each.
        classes: their names.
        digests: of the files' bytes.
        pictures: the same for two files of one picture, as far as anybody has looked.
        sizes: (height, width) of each.
        channels: that each is read with.
        image_size: (height, width) that `pixels` gives.
        crop_pct: see `striate.data.frames.middle`.
        interpolation: of the scaling.
        max_pixels: an image of more is refused.
        kept: decoded ones; None to decode each whenever it is asked for.
    """

    paths: tuple[Path, ...]
    labels: Labels
    classes: tuple[str, ...]
    digests: tuple[str, ...]
    pictures: tuple[str, ...]
    sizes: tuple[Size, ...]
    channels: int = 3
    image_size: Size = (224, 224)
    crop_pct: float | None = None
    interpolation: Interpolation = "bilinear"
    max_pixels: int = MAX_PIXELS
    kept: KeptPictures | None = None
    is_in_memory: ClassVar[bool] = False

    def subset(self: Files, indices: Sequence[int] | Int64[Tensor, " M"]) -> Files:
        """Return the images of the given indices, in that order."""
        return replace(self, **self.columns(torch.as_tensor(indices, dtype=torch.int64).tolist()))

    def columns(self, places: Sequence[int]) -> dict[str, Any]:
        """Return all that has an entry for each image, for some of them."""
        return {
            "paths": tuple(self.paths[place] for place in places),
            "digests": tuple(self.digests[place] for place in places),
            "pictures": tuple(self.pictures[place] for place in places),
            "sizes": tuple(self.sizes[place] for place in places),
            "labels": self.labels[places],
        }

    def prepared(
        self: Files, channels: int, image_size: Size, crop_pct: float | None, interpolation: Interpolation = "bilinear"
    ) -> Files:
        """Return the set with what is to be made of each image; none is read."""
        return replace(self, channels=channels, image_size=image_size, crop_pct=crop_pct, interpolation=interpolation)

    def pixels(self, framing: Framing | None = None) -> UInt8[Tensor, "N C H W"]:
        """Read the images.

        Raises:
            ImageFileError: naming one that cannot be read.
        """

        def frame(place: int, size: Size) -> Frame:
            return middle(size, self.image_size, self.crop_pct) if framing is None else framing(place, size)

        pictures = (self.picture(place) for place in range(len(self.paths)))
        parts = [
            picture.cut(frame(place, picture.size), self.image_size, self.interpolation)
            for place, picture in enumerate(pictures)
        ]
        return torch.stack(parts) if parts else torch.empty(0, self.channels, *self.image_size, dtype=torch.uint8)

    def picture(self, place: int) -> Picture:
        """Read one image whole."""
        path = self.paths[place]
        decode = partial(read_image, path, self.channels, self.max_pixels)
        return decode() if self.kept is None else self.kept.picture(path, decode)

    def decoded(self) -> Iterator[tuple[Path, tuple[int, int, int]]]:
        """Yield the files that are decoded, and what each then is: height, width and channels."""
        for path, size in zip(self.paths, self.sizes, strict=True):
            yield path, (*size, self.channels)

    def source(self, place: int) -> str:
        """Return the file's path."""
        return spell(self.paths[place])

    def contents(self) -> Iterable[Buffer]:
        """Yield the digest of each file."""
        for digest in self.digests:
            yield digest.encode()


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set in its parts.

    Args:
        name: the embedded name, or the folder's.
        train: to learn from.
        val: to choose by: the best epoch, when to stop.
        test: to say how good it is, once; None where the set has none of its own.
        notes: what its user should know of it.
    """

    name: str
    train: ImageSet
    val: ImageSet
    test: ImageSet | None
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, ImageSet]:
        """The parts that there are, by name."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def judged(self) -> tuple[str, ImageSet]:
        """The part that the last word is about, and its name: ``test``, or ``val`` where there is none."""
        return ("val", self.val) if self.test is None else ("test", self.test)

    def prepared(
        self, channels: int, image_size: Size, crop_pct: float | None, interpolation: Interpolation = "bilinear"
    ) -> "Splits":
        """Return the parts as a network takes them."""
        look = (channels, image_size, crop_pct, interpolation)
        test = None if self.test is None else self.test.prepared(*look)
        return replace(self, train=self.train.prepared(*look), val=self.val.prepared(*look), test=test)

    def keeping(self, limit: int) -> "Splits":
        """Return the parts, prepared, with so many bytes for decoded images to learn from and to choose by."""
        files = [part for part in (self.train, self.val) if isinstance(part, ImageFiles)]
        kept = KeptPictures((shape for part in files for shape in part.decoded()), limit)
        train, val = (
            replace(part, kept=kept) if isinstance(part, ImageFiles) else part for part in (self.train, self.val)
        )
        return replace(self, train=train, val=val)

    def fingerprint(self) -> str:
        """Return a digest of every image and label, which changes when any of them does."""
        digest = hashlib.sha256()
        for part in self.parts.values():
            digest.update(repr((part.classes, len(part))).encode())
            for content in part.contents():
                digest.update(content)
            digest.update(part.labels.contiguous().numpy().data)
        return digest.hexdigest()


def split_by_class(
    labels: Int64[Tensor, " N"], share: float, seed: int, groups: Sequence[str] | None = None
) -> tuple[Int64[Tensor, " rest"], Int64[Tensor, " part"]]:
    """Divide the indices 0..N-1 into the rest and a part that holds ``share`` of every class, rounded.

    Both come in an order drawn from ``seed``; each class with two images or more has one in both.

    Args:
        labels: of the images.
        share: of each class.
        seed: of the order.
        groups: of the images; those of one group stay together, and are shared out as if they were one image, of the
            class of the first. By default each is a group of its own.
    """
    named: Sequence[object] = range(len(labels)) if groups is None else groups
    first: dict[object, int] = {}
    for place, group in enumerate(named):
        first.setdefault(group, place)
    numbers = {group: number for number, group in enumerate(first)}
    group_of = torch.tensor([numbers[group] for group in named])
    leaders = torch.tensor(list(first.values()))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(numbers)))
    shuffled = labels[leaders[order]]
    taken = torch.zeros(len(numbers), dtype=torch.bool)
    for label in range(int(shuffled.max()) + 1):
        members = (shuffled == label).nonzero().squeeze(1)
        count = max(min(max(round(share * len(members)), 1), len(members) - 1), 0)
        taken[order[members[:count]]] = True
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    everything = rank[group_of].argsort(stable=True)
    is_taken = taken[group_of[everything]]
    return everything[~is_taken], everything[is_taken]
