"""From what a detector says in numbers to what is in an image."""

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from striate.results import Detections

ROW = 7  # Numbers of each thing: box, score, class, and whether it is there at all.
IS_THING = 0.5  # Probability from which a pixel is the thing's.


class Detected(NamedTuple):
    """What was found in some images, the surest first, filled up to a fixed number.

    Args:
        boxes_xyxy: in pixels of the images as the network took them; zeros where there is none.
        scores: of each, between 0 and 1; 0 where there is none.
        labels: the index of its class; 0 where there is none.
        valid: whether there is something at each place.
        masks: how probable it is that a part of each box is the thing's, at ``s`` x ``s`` places within it; None where
            the network says no masks.
    """

    boxes_xyxy: Float[Tensor, "N D 4"]
    scores: Float[Tensor, "N D"]
    labels: Int64[Tensor, "N D"]
    valid: Bool[Tensor, "N D"]
    masks: Float[Tensor, "N D s s"] | None = None


def packed(detected: Detected) -> Float[Tensor, "N D numbers"]:
    """Return what was found as one tensor on the CPU, a row of each: ``ROW`` numbers, and its mask."""
    rows = [detected.boxes_xyxy, *(each.unsqueeze(2) for each in (detected.scores, detected.labels, detected.valid))]
    masks = [] if detected.masks is None else [detected.masks.flatten(2)]
    return torch.cat([column.float().cpu() for column in (*rows, *masks)], 2)


def detections_of(
    rows: Float[Tensor, "D numbers"],
    names: Sequence[str],
    seen: tuple[int, int],
    image_size: tuple[int, int],
    least: float = 0.0,
) -> Detections:
    """Return what was found in one image, in its own pixels.

    Args:
        rows: as `packed` gives them.
        names: of the classes.
        seen: (height, width) of the image as the network took it, which was all of it.
        image_size: of the image itself.
        least: score; what is less sure is left out.
    """
    there = rows[(rows[:, ROW - 1] > 0) & (rows[:, 4] >= least)]
    height, width = image_size
    far = torch.tensor([width, height, width, height])
    boxes = (there[:, :4] * far / torch.tensor([seen[1], seen[0]] * 2)).clamp_min(0).minimum(far)
    masks = None
    if rows.shape[1] > ROW:
        side = round((rows.shape[1] - ROW) ** 0.5)
        squares = there[:, ROW:].view(-1, side, side)
        masks = tuple(paste(square, box) for square, box in zip(squares, boxes.tolist(), strict=True))
    return Detections(
        names=tuple(names),
        boxes_xyxy=boxes.numpy(),
        scores=there[:, 4].clamp(0, 1).numpy(),
        labels=there[:, 5].long().numpy(),
        image_size=image_size,
        masks=masks,
    )


def paste(probabilities: Float[Tensor, "s s"], xyxy: Sequence[float]) -> Bool[np.ndarray, "h w"]:
    """Return which of the pixels that a box touches are its thing's.

    Args:
        probabilities: at places within the box; between them they are interpolated, bilinearly.
        xyxy: the box.
    """
    left, top, right, bottom = xyxy
    across, down = (
        (torch.arange(floor(low), ceil(high)) + 0.5 - low) / max(high - low, 1e-6) * 2 - 1
        for low, high in ((left, right), (top, bottom))
    )
    if not len(across) or not len(down):
        return np.zeros((len(down), len(across)), bool)
    y, x = torch.meshgrid(down, across, indexing="ij")
    grid = torch.stack([x, y], -1).unsqueeze(0).to(probabilities.dtype)
    at = F.grid_sample(probabilities[None, None], grid, padding_mode="border", align_corners=False)
    inside: Bool[np.ndarray, "h w"] = (at[0, 0] >= IS_THING).numpy()
    return inside
