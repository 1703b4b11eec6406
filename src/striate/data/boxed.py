"""Images with boxes, in files or in memory."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image
from torch import Tensor
from typing_extensions import Buffer

from striate.data.annotations import Annotation, Instance
from striate.data.box_targets import BoxTargets, compose, reframe
from striate.data.frames import Frame, Framing, Size, middle, whole
from striate.data.outlines import draw
from striate.data.preprocessing import Interpolation
from striate.data.sets import ImageFiles, ImageSet, ImageTensors


class Boxed(ImageSet):
    """Images with boxes, wherever they are. The label of an image as a whole is 0 for all.

    Attributes:
        annotations: what is known of each image, in pixels of the image as it was stored.
        most: boxes that any image of the data set has, and all are filled up to.
        mask_side: of the mask of each thing, within its box; None for boxes alone.
    """

    __slots__ = ()
    annotations: tuple[Annotation, ...]
    most: int
    mask_side: int | None

    @abstractmethod
    def seen(self, place: int, framing: Framing | None) -> tuple[Size, Frame]:
        """Return the (height, width) of one image as it was stored, and which part of that `pixels` gives."""

    @property
    def proposed(self) -> int | None:
        """Proposals that there is room for in each image; None where nobody has searched."""
        found = next((annotation.proposals for annotation in self.annotations), None)
        return None if found is None else len(found)

    def with_proposals(self, proposals: Iterable[Float32[Tensor, "P 4"]]) -> "Boxed":
        """Return the images with proposals, in pixels of each as it was stored."""
        found = (replace(known, proposals=own) for known, own in zip(self.annotations, proposals, strict=True))
        made: Boxed = replace(cast(Any, self), annotations=tuple(found))
        return made

    def known(self, framing: Framing | None = None) -> BoxTargets:
        """Return the boxes, cut and scaled as `pixels` does it with their images.

        A thing of which less than a quarter of its box is left, or a side of a pixel or less, is ignored, as crowds and
        difficult ones are; if nothing is left of it, there is none. Masks are kept within their boxes, since at
        the images' size those of 30 things would take thirty times the bytes of a grey image.

        Raises:
            ImageFileError: naming a mask that cannot be read.
        """
        made = BoxTargets.blank(len(self), self.most, self.mask_side, self.proposed)
        numbers = {name: number for number, name in enumerate(self.classes)}
        for place, annotation in enumerate(self.annotations):
            instances, count = annotation.instances, len(annotation.instances)
            size, frame = self.seen(place, framing)
            if made.proposals is not None:
                assert annotation.proposals is not None, "all images of a set are searched, or none"
                made.proposals[place] = reframe(annotation.proposals, frame, self.image_size).xyxy
            if not instances:
                continue
            moved = reframe(boxes_of(instances), frame, self.image_size)
            ignored = torch.tensor([instance.ignored for instance in instances])
            valid = moved.is_kept & ~ignored
            there = moved.shares > 0
            labels = torch.tensor([numbers[instance.label] for instance in instances])
            made.xyxy[place, :count] = moved.xyxy * there[:, None]
            made.labels[place, :count] = labels * there
            made.valid[place, :count] = valid
            made.ignored[place, :count] = there & ~valid
            if made.masks is not None and self.mask_side is not None:
                self._fill(made.masks[place], instances, valid, moved.inside, size)
        return made

    def _fill(
        self,
        masks: Tensor,
        instances: Sequence[Instance],
        valid: Bool[Tensor, " K"],
        inside: Float32[Tensor, "K 4"],
        size: Size,
    ) -> None:
        assert self.mask_side is not None
        chosen = [place for place, instance in enumerate(instances) if valid[place] and instance.outline is not None]
        outlines = [outline for place in chosen if (outline := instances[place].outline) is not None]
        for place, mask in zip(chosen, draw(outlines, size), strict=True):
            masks[place] = _within(mask, inside[place], self.mask_side)


def _within(mask: UInt8[np.ndarray, "H W"], xyxy: Float32[Tensor, " 4"], side: int) -> UInt8[Tensor, "s s"]:
    """Return the part of a mask that lies in a box, scaled; whatever is beyond the box's pixels is not mixed in."""
    left, top, right, bottom = xyxy.tolist()
    first = floor(left), floor(top)
    part = Image.fromarray(mask[first[1] : ceil(bottom), first[0] : ceil(right)] * np.uint8(255))
    # A box that was moved and cut may end a rounding error beyond its image.
    last = min(right - first[0], part.width), min(bottom - first[1], part.height)
    box = left - first[0], top - first[1], *last
    return torch.from_numpy(np.array(part.resize((side, side), Image.Resampling.BILINEAR, box=box)))


def boxes_of(instances: Sequence[Instance]) -> Float32[Tensor, "K 4"]:
    """Return the boxes of things."""
    return torch.tensor([instance.xyxy for instance in instances], dtype=torch.float32).reshape(-1, 4)


def _contents(images: Boxed) -> Iterable[Buffer]:
    """Yield what changes when anything that is known does."""
    for annotation in images.annotations:
        told = [(each.xyxy, each.label, each.ignored) for each in annotation.instances]
        yield repr((annotation.digest, told)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxedFiles(Boxed, ImageFiles):
    """Images in files of their own, with boxes.

    Args:
        annotations: what is known of each.
        most: see `Boxed`.
        mask_side: likewise.
    """

    annotations: tuple[Annotation, ...]
    most: int
    mask_side: int | None = None

    def columns(self, places: Sequence[int]) -> dict[str, Any]:
        """Return all that has an entry for each image, for some of them."""
        return ImageFiles.columns(self, places) | {"annotations": tuple(self.annotations[place] for place in places)}

    def seen(self, place: int, framing: Framing | None) -> tuple[Size, Frame]:
        """Return the (height, width) of one image, and which part of that `pixels` gives."""
        size = self.sizes[place]
        return size, middle(size, self.image_size, self.crop_pct) if framing is None else framing(place, size)

    def contents(self) -> Iterable[Buffer]:
        """Yield the digest of each file, and what is known of each image."""
        yield from ImageFiles.contents(self)
        yield from _contents(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxedTensors(Boxed, ImageTensors):
    """Images of one size in memory, with boxes.

    Args:
        annotations: what is known of each.
        most: see `Boxed`.
        mask_side: likewise.
        stored: (height, width) of the images as they were made; None for as they are.
        part: of those that these are.
    """

    annotations: tuple[Annotation, ...]
    most: int
    mask_side: int | None = None
    stored: Size | None = None
    part: Frame | None = None

    def subset(self, indices: Sequence[int] | Int64[Tensor, " M"]) -> "BoxedTensors":
        """Return the images of the given indices, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        annotations = tuple(self.annotations[place] for place in chosen.tolist())
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], annotations=annotations)

    def prepared(
        self, channels: int, image_size: Size, crop_pct: float | None, interpolation: Interpolation = "bilinear"
    ) -> "BoxedTensors":
        """Return the images at the network's size; boxes go with them."""
        stored, before = self._stored()
        part = compose(before, middle(self.image_size, image_size, crop_pct), self.image_size)
        made = ImageTensors.prepared(self, channels, image_size, crop_pct, interpolation)
        return replace(self, images=made.images, stored=stored, part=part)

    def seen(self, place: int, framing: Framing | None) -> tuple[Size, Frame]:
        """Return the (height, width) of one image as it was made, and which part of that `pixels` gives."""
        stored, part = self._stored()
        inner = whole(self.image_size) if framing is None else framing(place, self.image_size)
        return stored, compose(part, inner, self.image_size)

    def contents(self) -> Iterable[Buffer]:
        """Yield all pixels, and what is known of each image."""
        yield from ImageTensors.contents(self)
        yield from _contents(self)

    def _stored(self) -> tuple[Size, Frame]:
        if self.stored is None or self.part is None:
            return self.image_size, whole(self.image_size)
        return self.stored, self.part
