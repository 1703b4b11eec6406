import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from striate.boxes import iou
from striate.detection.matching import ANCHORS, PROPOSALS, Thresholds, match, match_images


def drawn(seed: int, boxes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return candidates, boxes and which of these are some; many edges alike, so that overlaps tie."""
    generator = torch.Generator().manual_seed(seed)

    def some(count: int) -> Tensor:
        corners = torch.randint(0, 6, (count, 2), generator=generator)
        return torch.cat([corners, corners + torch.randint(1, 6, (count, 2), generator=generator)], 1).float()

    return some(30), some(boxes), torch.rand(boxes, generator=generator) > 0.3


@given(st.integers(0, 2000), st.sampled_from([1, 2, 5]), st.sampled_from([ANCHORS, PROPOSALS]))
def test_matches_are_those_of_a_loop(seed: int, count: int, thresholds: Thresholds) -> None:
    candidates, boxes, valid = drawn(seed, count)
    found = match(candidates, boxes, valid, thresholds)
    there = valid.nonzero().flatten().tolist()
    overlaps = {box: [float(iou(candidate, boxes[box])) for candidate in candidates] for box in there}
    for place in range(len(candidates)):
        most = max((overlaps[box][place] for box in there), default=-1.0)
        is_best = any(overlaps[box][place] == max(overlaps[box]) > 0 for box in there)
        foreground = most >= thresholds.foreground or (thresholds.best_too and is_best)
        assert bool(found.foreground[place]) == foreground
        assert bool(found.background[place]) == (not foreground and most < thresholds.background)
        if foreground:
            assert int(found.boxes[place]) == next(box for box in there if overlaps[box][place] == most)


def test_the_lectures_thresholds() -> None:
    box = torch.tensor([[0.0, 0, 10, 10]])
    candidates = torch.tensor([[0.0, 0, 10, width] for width in (9.0, 7.1, 6.9, 3.1, 2.9, 0.1)])
    found = match(candidates, box, torch.tensor([True]))
    assert found.foreground.tolist() == [True, True, False, False, False, False]
    assert found.background.tolist() == [False, False, False, False, True, True]
    few = match(candidates[3:], box, torch.tensor([True]))
    assert few.foreground.tolist() == [True, False, False]  # The best one, though between the thresholds.


def test_without_boxes_all_is_background() -> None:
    """Also where a box meets no candidate: that 0 is then its largest overlap makes none foreground."""
    candidates, boxes, valid = drawn(1, 3)
    for found in (
        match(candidates, boxes, torch.zeros_like(valid)),
        match(candidates, boxes + 1000, torch.ones_like(valid)),
    ):
        assert found.background.all()
        assert not found.foreground.any()


def test_images_are_matched_each_by_itself() -> None:
    candidates = torch.stack([drawn(seed, 4)[0] for seed in (1, 2)])
    boxes = torch.stack([drawn(seed, 4)[1] for seed in (1, 2)])
    valid = torch.tensor([[True, False, True, True], [False, False, True, False]])
    for given_candidates in (candidates, candidates[0]):
        found = match_images(given_candidates, boxes, valid)
        for image in range(2):
            own = given_candidates[image] if given_candidates.ndim == 3 else given_candidates
            expected = match(own, boxes[image], valid[image])
            assert all(a[image].equal(b) for a, b in zip(found, expected, strict=True))
