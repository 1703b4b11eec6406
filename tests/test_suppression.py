"""Suppression against a plain loop, and what it costs in a program that is traced."""

import json
import subprocess
import sys
import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate.boxes import iou
from striate.costing.devices.cpu import cpu
from striate.costing.memory import find_peak, timeline
from striate.costing.verify import measure_peak
from striate.graph.programs import Training
from striate.graph.trace import trace
from striate.suppression import BLOCK, suppress, suppress_to


def looped(boxes: Tensor, scores: Tensor, threshold: float, labels: Tensor | None = None) -> list[int]:
    """Return what is kept: one box after the other, the best first, of equal ones the first."""
    left = sorted(range(len(boxes)), key=lambda place: -float(scores[place]))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        if left:
            near = (iou(boxes[best], boxes[left]) > threshold).tolist()
            left = [p for p, is_near in zip(left, near, strict=True) if not (is_near and same(labels, best, p))]
    return kept


def same(labels: Tensor | None, one: int, other: int) -> bool:
    return labels is None or bool(labels[one] == labels[other])


def drawn(seed: int, count: int, *, whole: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and labels; ``whole`` for few different ones of each, so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    side = 12.0 if whole else 200.0
    corners = side * torch.rand(count, 2, generator=generator)
    sides = torch.exp(3 * torch.rand(count, 2, generator=generator)) * side / 20
    boxes, scores = torch.cat([corners, corners + sides], 1), torch.rand(count, generator=generator)
    if whole:
        boxes, scores = boxes.round(), (4 * scores).round()
    return boxes, scores, torch.randint(0, 3, (count,), generator=generator)


@given(
    st.integers(0, 10_000),
    st.sampled_from([0, 1, 2, 33, 40, 120]),
    st.sampled_from([0.0, 0.3, 1 / 3, 0.5, 0.7, 1.0]),
    st.booleans(),
)
def test_what_is_kept_is_what_a_loop_keeps(seed: int, count: int, threshold: float, whole: bool) -> None:
    boxes, scores, labels = drawn(seed, count, whole=whole)
    assert suppress(boxes, scores, threshold).tolist() == looped(boxes, scores, threshold)
    assert suppress(boxes, scores, threshold, labels).tolist() == looped(boxes, scores, threshold, labels)


@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("spread", [0.0, 1.0, 20.0])
def test_so_is_that_of_several_blocks(threshold: float, spread: float) -> None:
    """At a spread of 0 all boxes are one; at 20 most of them stay."""
    generator = torch.Generator().manual_seed(1)
    corners = 20 * spread * torch.rand(2 * BLOCK + 100, 2, generator=generator)
    boxes = torch.cat([corners, corners + 10 + spread * torch.rand(corners.shape, generator=generator)], 1)
    scores = torch.rand(len(boxes), generator=generator)
    assert suppress(boxes, scores, threshold).tolist() == looped(boxes, scores, threshold)


def test_classes_far_apart_in_number_are_exact() -> None:
    """Moving the boxes of each class to a place of their own, as is done elsewhere, would round these to nothing."""
    boxes, scores, labels = drawn(3, 200)
    labels = labels * 10**12
    assert suppress(boxes, scores, 0.5, labels).tolist() == looped(boxes, scores, 0.5, labels)


@given(st.integers(0, 1000), st.integers(1, 60))
def test_a_fixed_number_are_the_best_of_those_that_are_kept(seed: int, count: int) -> None:
    boxes, scores, _ = drawn(seed, 90)
    boxes, scores = boxes.view(3, 30, 4), scores.view(3, 30)
    scores[2] = -torch.inf  # No boxes at all.
    scores[1, 10:] = -torch.inf
    indices, valid = suppress_to(boxes, scores, 0.3, count)
    assert indices.shape == valid.shape == (3, count)
    for image, places in enumerate((30, 10, 0)):
        kept = looped(boxes[image, :places], scores[image, :places], 0.3)[:count]
        assert indices[image].tolist() == kept + [0] * (count - len(kept))
        assert valid[image].tolist() == [True] * len(kept) + [False] * (count - len(kept))
    one = suppress_to(boxes[0], scores[0], 0.3, count)
    assert one.indices.equal(indices[0])
    assert one.valid.equal(valid[0])


def test_the_operator_is_one_that_torch_can_trace_and_compile() -> None:
    boxes, scores, _ = drawn(5, 60)
    given = (boxes.view(2, 30, 4).requires_grad_(), scores.view(2, 30), 0.5, 7)
    torch.library.opcheck(torch.ops.striate.suppress.default, given)


class Proposing(nn.Module):
    """Boxes and scores of each image from a map, the best of them pooled: as a step of a detector's training."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.scores, self.boxes, self.last = nn.Linear(16, 1), nn.Linear(16, 4), nn.Linear(4, 3)
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        corners = 100 * self.boxes(x).sigmoid()
        boxes = torch.cat([corners[..., :2], corners[..., :2] + corners[..., 2:]], -1)
        kept = suppress_to(boxes, self.scores(x).squeeze(-1), 0.5, self.count)
        chosen = boxes.gather(1, kept.indices.unsqueeze(-1).expand(-1, -1, 4))
        out: Tensor = self.last(chosen * kept.valid.unsqueeze(-1))
        return out


def step(boxes: int, count: int) -> Training:
    torch.manual_seed(0)
    return Training(Proposing(count), [torch.randn(2, boxes, 16)], [], lambda output: output.square().mean())


STEPS = [(500, 100), (3000, 2000), (3000, 300)]


@pytest.fixture(scope="module")
def measured() -> dict[str, int]:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=300, check=True)
    figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return figures


@pytest.mark.parametrize(("boxes", "count"), STEPS)
def test_a_step_with_it_takes_what_is_predicted(boxes: int, count: int, measured: dict[str, int]) -> None:
    graph = trace(step(boxes, count))
    assert [op.name for op in graph.operators if "striate" in op.name] == ["striate.suppress.default"]
    assert find_peak(timeline(graph, cpu())).size == pytest.approx(measured[f"{boxes}, {count}"], rel=0.03)


@settings(max_examples=3)
@given(st.sampled_from([0.5, 0.7]))
def test_its_memory_is_not_that_of_all_pairs(threshold: float) -> None:
    boxes, scores, _ = drawn(2, 10_000)
    boxes = boxes * 5
    tracemalloc.start()
    try:
        suppress(boxes, scores, threshold)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10e6


if __name__ == "__main__":
    print(json.dumps({f"{boxes}, {count}": measure_peak(step(boxes, count), "cpu") for boxes, count in STEPS}))
