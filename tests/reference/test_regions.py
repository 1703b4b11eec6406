"""Regions, anchors and offsets are torchvision's, whose wheel has these without its compiled operators."""

from inspect import unwrap
from typing import Any

import pytest
import torch
from reference_peers import import_peer
from torch import Tensor

from striate.blocks.regions import roi_align
from striate.boxes import UNWEIGHTED, decode_boxes, encode_boxes, giou, iou
from striate.detection.anchors import base_anchors, spread_anchors

# Written in Python there, and compiled only when called.
peer_align: Any = unwrap(import_peer("torchvision.ops.roi_align")._roi_align)
detection: Any = import_peer("torchvision.models.detection")
peer_boxes: Any = import_peer("torchvision.ops.boxes")


def drawn(seed: int, count: int = 20) -> Tensor:
    """Return boxes within 272 x 208 pixels: torchvision in Python repeats a map's edge far outside it."""
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(1).values
    return (corners * torch.tensor([272.0, 208.0])).flatten(1)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("size", [(7, 7), (14, 3)])
def test_aligned_regions_are_torchvisions(aligned: bool, size: tuple[int, int]) -> None:
    maps = torch.randn(2, 5, 13, 17, generator=torch.Generator().manual_seed(0), requires_grad=True)
    boxes, images = drawn(1), torch.arange(20) % 2
    ours = roi_align(maps, boxes, images, size, stride=16, aligned=aligned)
    rois = torch.cat([images[:, None].float(), boxes], 1)
    theirs = peer_align(maps, rois, 1 / 16, *size, 2, aligned)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for one, other in zip(*(torch.autograd.grad((x * weights).sum(), maps) for x in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sizes", [(128, 256, 512), (32,), (40, 50)])
def test_anchors_are_torchvisions(sizes: tuple[int, ...]) -> None:
    ratios = (0.5, 1.0, 2.0)
    generator = detection.anchor_utils.AnchorGenerator((sizes,), (ratios,))
    images = detection.image_list.ImageList(torch.zeros(1, 3, 80, 128), [(80, 128)])
    theirs = generator(images, [torch.zeros(1, 1, 5, 8)])[0]
    assert spread_anchors(base_anchors(sizes, ratios), (5, 8), 16).equal(theirs)


@pytest.mark.parametrize("weights", [UNWEIGHTED, (10.0, 10.0, 5.0, 5.0)])
def test_offsets_are_torchvisions(weights: tuple[float, float, float, float]) -> None:
    coder = detection._utils.BoxCoder(weights)
    boxes, anchors = drawn(2), drawn(3)
    torch.testing.assert_close(encode_boxes(boxes, anchors, weights), coder.encode_single(boxes, anchors))
    offsets = 8 * torch.randn(20, 4, generator=torch.Generator().manual_seed(4))
    theirs = coder.decode_single(offsets, anchors)
    torch.testing.assert_close(decode_boxes(offsets, anchors, weights), theirs)


def test_overlaps_are_torchvisions() -> None:
    boxes, others = drawn(5), drawn(6)
    torch.testing.assert_close(iou(boxes[:, None], others), peer_boxes.box_iou(boxes, others))
    torch.testing.assert_close(giou(boxes[:, None], others), peer_boxes.generalized_box_iou(boxes, others))
