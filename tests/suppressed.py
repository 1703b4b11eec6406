"""Suppression by a plain loop, for what networks say of boxes."""

import pytest
import torch

from striate.boxes import pairwise_iou
from striate.detection.found import Detected

Row = tuple[float, int, list[float]]  # Score, class and box.


def best_by_loop(
    rows: list[Row], found: Detected, image: int, size: tuple[int, int], *, least: float, overlap: float = 0.5
) -> None:
    """Expect of one image what a loop over all that was said of it finds."""
    far = (size[1], size[0], size[1], size[0])
    cut = [
        (score, label, [min(max(edge, 0.0), float(end)) for edge, end in zip(box, far, strict=True)])
        for score, label, box in sorted(rows, key=lambda row: -row[0])
        if score > least
    ]
    there = [row for row in cut if min(row[2][2] - row[2][0], row[2][3] - row[2][1]) >= 1e-3]
    boxes = torch.tensor([box for _, _, box in there])
    overlaps = (pairwise_iou(boxes, boxes) > overlap).tolist()
    places: list[int] = []
    for place, (_, label, _) in enumerate(there):
        if not any(overlaps[place][other] and there[other][1] == label for other in places):
            places.append(place)
    kept = [there[place] for place in places[: found.valid.shape[1]]]
    count = int(found.valid[image].sum())
    assert count == len(kept)
    assert count > 5, "there is something to suppress"
    assert found.scores[image, :count].tolist() == pytest.approx([row[0] for row in kept], abs=1e-5)
    assert found.labels[image, :count].tolist() == [row[1] for row in kept]
    expected = torch.tensor([row[2] for row in kept])
    torch.testing.assert_close(found.boxes_xyxy[image, :count], expected, rtol=1e-4, atol=1e-2)
    assert not found.boxes_xyxy[image, count:].any()
