"""What is learned of boxes, in tensors of one shape for all images, and how boxes move along with their images."""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from striate.boxes import has_extent
from striate.data.frames import Frame, Size

LEAST = 0.25  # Share of a box's area: of a thing of which less is seen, it is hard to tell what it is.
THINNEST = 1.0  # Pixels of the result: likewise for a box with a side of so many or fewer.


@dataclass(frozen=True, slots=True)
class BoxTargets:
    """What is known of the things in some images; where an image has fewer than M, what is left is neither.

    Args:
        xyxy: boxes, in pixels of the images as they are given; 0 where there is none.
        labels: the index of each one's class; 0 where there is none.
        valid: whether there is a thing that is to be found.
        ignored: whether there is one that need not be found, and that is not wrong to find: a crowd, or a difficult
            one.
        masks: which part of each valid box is the thing's, 0 none to 255 all of it, at ``s`` x ``s`` places within its
            box; None where nobody asked.
        proposals: boxes in which something may be, the best first, of no extent where there is none; None where nobody
            has searched.
    """

    xyxy: Float32[Tensor, "N M 4"]
    labels: Int64[Tensor, "N M"]
    valid: Bool[Tensor, "N M"]
    ignored: Bool[Tensor, "N M"]
    masks: UInt8[Tensor, "N M s s"] | None = None
    proposals: Float32[Tensor, "N P 4"] | None = None

    @classmethod
    def blank(
        cls, images: int, boxes: int, mask_side: int | None, proposals: int | None = None, device: str = "cpu"
    ) -> "BoxTargets":
        """Return what is known of so many images in which there is nothing."""
        return cls(
            torch.zeros(images, boxes, 4, device=device),
            torch.zeros(images, boxes, dtype=torch.int64, device=device),
            torch.zeros(images, boxes, dtype=torch.bool, device=device),
            torch.zeros(images, boxes, dtype=torch.bool, device=device),
            None
            if mask_side is None
            else torch.zeros(images, boxes, mask_side, mask_side, dtype=torch.uint8, device=device),
            None if proposals is None else torch.zeros(images, proposals, 4, device=device),
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shown(self) -> tuple[Tensor, ...]:
        """What a network is shown besides the images."""
        return () if self.proposals is None else (self.proposals,)

    @property
    def truths(self) -> tuple[Tensor, ...]:
        """What it is to say."""
        every = (self.xyxy, self.labels, self.valid, self.ignored, self.masks)
        return tuple(tensor for tensor in every if tensor is not None)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "BoxTargets":
        """Return it on a device."""
        return BoxTargets(
            **{name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self._named().items()}
        )

    def tensor_split(self, parts: int) -> "list[BoxTargets]":
        """Return it in parts of as many images, or one more."""
        named = self._named()
        cut = zip(*(tensor.tensor_split(parts) for tensor in named.values()), strict=True)
        return [BoxTargets(**dict(zip(named, tensors, strict=True))) for tensors in cut]

    def _named(self) -> dict[str, Tensor]:
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}

    def mirrored(self, which: Bool[Tensor, " N"], width: int) -> "BoxTargets":
        """Return what is known once some of the images, of a width in pixels, are mirrored."""
        chosen = which[:, None, None]
        changed = {
            "xyxy": torch.where((self.valid | self.ignored)[:, :, None] & chosen, mirror(self.xyxy, width), self.xyxy)
        }
        if self.masks is not None:
            changed["masks"] = torch.where(chosen[:, None], self.masks.flip(3), self.masks)
        if self.proposals is not None:
            there = has_extent(self.proposals)[:, :, None]
            changed["proposals"] = torch.where(there & chosen, mirror(self.proposals, width), self.proposals)
        return replace(self, **changed)


def mirror(xyxy: Float32[Tensor, "*k 4"], width: int) -> Float32[Tensor, "*k 4"]:
    """Return boxes in an image that is mirrored left to right; doing so twice changes nothing."""
    left, top, right, bottom = xyxy.unbind(-1)
    return torch.stack([width - right, top, width - left, bottom], -1)


@dataclass(frozen=True, slots=True)
class Reframed:
    """Boxes in a part of an image that is cut out and scaled.

    Args:
        xyxy: what is seen of each, in pixels of the result; of no extent where nothing is.
        inside: the same in pixels of the image.
        shares: of each one's area that is seen.
    """

    xyxy: Float32[Tensor, "K 4"]
    inside: Float32[Tensor, "K 4"]
    shares: Float32[Tensor, " K"]

    @property
    def is_kept(self) -> Bool[Tensor, " K"]:
        """Whether enough is seen to be learned: a quarter of the area, and more than a pixel of both sides."""
        return (self.shares >= LEAST) & ((self.xyxy[:, 2:] - self.xyxy[:, :2]).amin(-1) > THINNEST)


def reframe(xyxy: Float32[Tensor, "K 4"], frame: Frame, image_size: Size) -> Reframed:
    """Cut boxes at the edges of a frame, and scale what is left as the frame is scaled.

    Args:
        xyxy: in pixels of the image; of what has no area, the share that is seen is no number.
        frame: part of the image.
        image_size: (height, width) to which that is scaled.
    """
    first = torch.tensor([frame.left, frame.top])
    sides = torch.tensor([frame.width, frame.height])
    last = first + sides
    corners = [torch.maximum(torch.minimum(corner, last), first) for corner in (xyxy[:, :2], xyxy[:, 2:])]
    scale = torch.tensor([float(image_size[1]), float(image_size[0])]) / sides
    moved = torch.cat([(corner - first) * scale for corner in corners], 1)
    shares = (corners[1] - corners[0]).prod(1) / (xyxy[:, 2:] - xyxy[:, :2]).prod(1)
    return Reframed(moved, torch.cat(corners, 1), shares)


def compose(outer: Frame, inner: Frame, image_size: Size) -> Frame:
    """Return which part of an image one sees through a frame of a frame.

    Args:
        outer: of the image.
        inner: of what ``outer`` becomes.
        image_size: (height, width) that it becomes.
    """
    down, across = outer.height / image_size[0], outer.width / image_size[1]
    return Frame(
        outer.top + inner.top * down, outer.left + inner.left * across, inner.height * down, inner.width * across
    )
