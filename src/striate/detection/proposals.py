"""Where things may be: the best of what a network says of its anchors, a fixed number of boxes.

Ren et al., "Faster R-CNN", 2015, section 3.3, on each map of a pyramid by itself (Lin et al., "Feature pyramid networks
for object detection", 2017, section 4.1).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from striate.boxes import clip_boxes, decode_boxes, has_extent
from striate.detection.targets import pick
from striate.errors import UsageError
from striate.suppression import suppress_to

SearchMode = Literal["fast", "quality"]


class ProposalSearch(NamedTuple):
    """Where proposals come from, for a network that makes none itself.

    Args:
        mode: of selective search.
        room: for so many proposals of each image, the best ones.
    """

    mode: SearchMode
    room: int


def make_search(name: str, mode: str, room: int) -> ProposalSearch:
    """Return where a network's proposals come from.

    Raises:
        UsageError: for a mode that there is not, or no room.
    """
    if mode not in get_args(SearchMode) or not isinstance(room, int) or room < 1:
        raise UsageError(
            expected=f"search of {name} as {' or '.join(get_args(SearchMode))}, and one proposal or more",
            received=f"search={mode}, proposals={room}",
            remedy="Leave both out for the usual ones.",
        )
    return ProposalSearch(cast(SearchMode, mode), room)


class Proposals(NamedTuple):
    """Boxes in which something may be, the best first.

    Args:
        boxes_xyxy: of each image, in pixels and within it; zeros where there is none.
        scores: of each, as the network says them; -∞ where there is none.
        valid: whether there is one at each place.
    """

    boxes_xyxy: Float[Tensor, "N count 4"]
    scores: Float[Tensor, "N count"]
    valid: Bool[Tensor, "N count"]


def propose(
    scores: Float[Tensor, "N A"],
    offsets: Float[Tensor, "N A 4"],
    anchors: Float[Tensor, "A 4"],
    sizes: Int64[Tensor, "N 2"],
    *,
    before: int,
    after: int,
    threshold: float = 0.7,
    smallest: float = 1e-3,
) -> Proposals:
    """Return the proposals of one map, without gradients: they are where the next layers look, not what they learn.

    The best anchors are moved as the network says and cut to their image; those with too small a side are dropped, and
    so are those that overlap a better one.

    Args:
        scores: of each anchor; the larger, the more certain that something is there.
        offsets: from the anchors.
        anchors: of all images alike.
        sizes: (height, width) of each image.
        before: proposals that are left before suppression, or all anchors if these are fewer.
        after: places behind it.
        threshold: of the suppression.
        smallest: side in pixels.
    """
    best = scores.detach().float().topk(min(before, scores.shape[1]), 1)
    boxes = decode_boxes(pick(offsets.detach(), best.indices), anchors[best.indices])
    boxes = clip_boxes(boxes, sizes)
    is_large = (boxes[..., 2:] - boxes[..., :2] >= smallest).all(-1)
    sure = best.values.where(is_large, -torch.inf)
    kept = suppress_to(boxes, sure, threshold, after)
    return Proposals(
        pick(boxes, kept.indices).masked_fill(~kept.valid.unsqueeze(-1), 0),
        pick(sure, kept.indices).masked_fill(~kept.valid, -torch.inf),
        kept.valid,
    )


def given(boxes_xyxy: Float[Tensor, "N P 4"]) -> Proposals:
    """Return boxes that another program proposes, all alike; those of no extent are none."""
    valid = has_extent(boxes_xyxy)
    return Proposals(boxes_xyxy, torch.zeros_like(valid, dtype=boxes_xyxy.dtype).masked_fill(~valid, -torch.inf), valid)


def sizes_of(batch: Tensor, image_size: Sequence[int]) -> Int64[Tensor, "N 2"]:
    """Return (height, width) of each of as many images as a batch has, which all have the same."""
    return torch.tensor(list(image_size), device=batch.device).expand(len(batch), -1)


def best_of(levels: Sequence[Proposals], count: int) -> Proposals:
    """Return the best proposals of all maps together.

    Args:
        levels: of each map; with ``count`` places in each, none is lost that belongs to the best.
        count: places; at most as many as these have together.
    """
    boxes, scores, valid = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
    best = scores.topk(count, 1)
    return Proposals(pick(boxes, best.indices), best.values, pick(valid, best.indices))


class Proposing(nn.Module):
    """The best of what is said of all anchors.

    Args:
        before: proposals of each map that are left before suppression.
        after: places behind it, of all maps together.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(
        self,
        scores: Sequence[Float[Tensor, "N _"]],
        offsets: Sequence[Float[Tensor, "N _ 4"]],
        anchors: Sequence[Float[Tensor, "_ 4"]],
        image_size: Sequence[int],
    ) -> Proposals:
        """Return proposals.

        Args:
            scores: of each map, as for `propose`.
            offsets: likewise.
            anchors: likewise.
            image_size: (height, width) of all images.
        """
        sizes = sizes_of(scores[0], image_size)
        levels = [
            propose(*said, sizes, before=self.before, after=min(self.after, self.before, said[0].shape[1]))
            for said in zip(scores, offsets, anchors, strict=True)
        ]
        if len(levels) == 1:
            return levels[0]
        return best_of(levels, min(self.after, sum(level.valid.shape[1] for level in levels)))
