"""Targets and proposals against plain loops, and a step of a proposing network as it is traced.

Run as a program, this file prints what that step takes.
"""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from striate.boxes import decode_boxes, encode_boxes
from striate.costing.devices.cpu import cpu
from striate.costing.memory import find_peak, timeline
from striate.costing.verify import measure_peak
from striate.detection.anchors import base_anchors, spread_anchors
from striate.detection.matching import match_images
from striate.detection.proposals import Proposals, best_of, propose
from striate.detection.sampling import sample_balanced
from striate.detection.targets import box_targets, pick
from striate.graph.programs import Training
from striate.graph.trace import trace
from striate.suppression import suppress

SIZES = torch.tensor([[60, 100], [80, 90]])


def said(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores and offsets of two images, and anchors."""
    generator = torch.Generator().manual_seed(seed)
    anchors = spread_anchors(base_anchors((16, 32)), (5, 6), 16)
    offsets = 0.3 * torch.randn(2, len(anchors), 4, generator=generator)
    return torch.randn(2, len(anchors), generator=generator), offsets, anchors


@given(st.integers(0, 1000), st.sampled_from([5, 50, 1000]), st.sampled_from([3, 30, 300]))
def test_proposals_are_those_of_a_loop(seed: int, before: int, after: int) -> None:
    scores, offsets, anchors = said(seed)
    found = propose(scores, offsets, anchors, SIZES, before=before, after=after, threshold=0.4, smallest=4.0)
    assert found.boxes_xyxy.shape == (2, after, 4)
    for image, (height, width) in enumerate(SIZES.tolist()):
        left = []
        for place in scores[image].argsort(descending=True)[:before].tolist():
            a, b, c, d = decode_boxes(offsets[image, place], anchors[place]).tolist()
            a, b, c, d = max(min(a, width), 0), max(min(b, height), 0), max(min(c, width), 0), max(min(d, height), 0)
            if c - a >= 4 and d - b >= 4:
                left.append((place, [a, b, c, d]))
        boxes = torch.tensor([box for _, box in left]).view(-1, 4)
        kept = suppress(boxes, scores[image, [place for place, _ in left]], 0.4)[:after]
        count = len(kept)
        torch.testing.assert_close(found.boxes_xyxy[image, :count], boxes[kept])
        assert found.valid[image].tolist() == [True] * count + [False] * (after - count)
        assert not found.boxes_xyxy[image, count:].any()
        assert (found.scores[image, :count].diff() <= 0).all()
        assert (found.scores[image, count:] == -torch.inf).all()


def test_the_best_of_several_maps() -> None:
    levels = [propose(*said(seed), SIZES, before=20, after=10) for seed in (1, 2, 3)]
    found = best_of(levels, 10)
    scores = torch.cat([level.scores for level in levels], 1).sort(1, descending=True).values
    assert found.scores.equal(scores[:, :10])
    assert found.valid.all()
    empty = Proposals(*(torch.zeros_like(part) for part in levels[0]))
    empty = empty._replace(scores=empty.scores - torch.inf)
    few = best_of([levels[0], empty], 15)
    assert few.valid.equal(few.scores > -torch.inf)


def test_targets_lead_from_candidates_to_their_boxes() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = 50 * torch.rand(2, 6, 2, generator=generator)
    candidates = torch.cat([corners, corners + 5 + corners.flip(1)], -1)
    boxes = torch.cat([candidates[:, :2] + 3, torch.zeros(2, 1, 4)], 1)  # The last is none.
    matched = torch.tensor([[0, 1, 0, 2, 1, 0], [2, 2, 1, 0, 0, 1]])
    foreground = matched < 2
    targets = box_targets(candidates, boxes, matched, foreground)
    assert targets.isfinite().all()
    assert not targets[~foreground].any()
    for image in range(2):
        for place in foreground[image].nonzero().flatten().tolist():
            box = boxes[image, matched[image, place]]
            torch.testing.assert_close(decode_boxes(targets[image, place], candidates[image, place]), box)
            torch.testing.assert_close(targets[image, place], encode_boxes(box, candidates[image, place]))


class Proposer(nn.Module):
    """What a proposing network does in a step of training: anchors, matches, a sample, its losses, proposals."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 32, 3, stride=16, padding=1)
        self.score, self.offset = nn.Conv2d(32, 9, 1), nn.Conv2d(32, 36, 1)
        self.register_buffer("base", base_anchors((32, 64, 128)))

    def forward(self, x: Tensor, boxes: Tensor, valid: Tensor, numbers: Tensor) -> Tensor:
        maps = self.body(x).relu()
        scores = self.score(maps).permute(0, 2, 3, 1).reshape(len(x), -1)
        offsets = self.offset(maps).permute(0, 2, 3, 1).reshape(len(x), -1, 4)
        anchors = spread_anchors(self.get_buffer("base"), (maps.shape[2], maps.shape[3]), 16)
        matches = match_images(anchors, boxes, valid)
        sample = sample_balanced(matches.foreground, matches.background, numbers, 64, 32)
        candidates = anchors[sample.indices]
        wanted = box_targets(candidates, boxes, pick(matches.boxes, sample.indices), sample.foreground)
        found = pick(offsets, sample.indices)
        moved = F.smooth_l1_loss(found, wanted, reduction="none").sum(-1) * sample.foreground
        seen = pick(scores, sample.indices)
        sure = F.binary_cross_entropy_with_logits(seen, sample.foreground.to(seen.dtype), reduction="none")
        sizes = torch.tensor([list(x.shape[2:])], device=x.device).expand(len(x), 2)
        proposals = propose(scores, offsets, anchors, sizes, before=500, after=100)
        # Proposals are no part of this loss; here they are only made.
        made = proposals.boxes_xyxy.sum() * 0
        return (moved + sure * sample.valid).sum() / sample.valid.sum() + made


def step() -> Training:
    torch.manual_seed(0)
    corners = 200 * torch.rand(2, 5, 2)
    boxes, valid = torch.cat([corners, corners + 80], -1), torch.rand(2, 5) > 0.3
    given_ = [torch.randn(2, 3, 256, 320), boxes, valid, torch.rand(2, 16 * 20 * 9)]
    return Training(Proposer(), given_, [], lambda loss: loss)


def test_a_step_of_training_takes_what_is_predicted() -> None:
    graph = trace(step())
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=300, check=True)
    assert find_peak(timeline(graph, cpu())).size == pytest.approx(int(done.stdout.splitlines()[-1]), rel=0.03)


def test_a_step_of_training_has_a_gradient_for_every_parameter() -> None:
    program = step()
    network = program.network
    torch.autograd.backward(network(*program.inputs))
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


if __name__ == "__main__":
    print(measure_peak(step(), "cpu"))
