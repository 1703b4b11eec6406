"""Boxes that move with their images: held against rectangles that are painted, moved as pictures, and found again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from boxed_scenes import SIZE, draw_things, write_instances
from striate.data.annotations import Annotation, Instance
from striate.data.box_targets import BoxTargets, compose, mirror, reframe
from striate.data.boxed import BoxedFiles, BoxedTensors
from striate.data.frames import Frame, middle, random_crop, whole
from striate.data.images import Picture
from striate.data.names import BoxOptions
from striate.data.outlines import Numbered
from striate.data.reading import Reading
from striate.data.source import open_data

SIDES = st.integers(20, 60)
DRAWS = st.lists(st.floats(0, 0.999), min_size=4, max_size=4)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """A (height, width), and a box of whole pixels in it."""
    height, width = draw(SIDES), draw(SIDES)
    left, top = draw(st.integers(0, width - 3)), draw(st.integers(0, height - 3))
    return (height, width), (left, top, draw(st.integers(left + 2, width)), draw(st.integers(top + 2, height)))


def painted(size: tuple[int, int], box: tuple[int, int, int, int]) -> Picture:
    levels = np.zeros(size, np.uint8)
    levels[box[1] : box[3], box[0] : box[2]] = 255
    return Picture((Image.fromarray(levels),))


def found_again(levels: Tensor) -> tuple[float, float, float, float] | None:
    """Return where a bright rectangle begins and ends, with parts of pixels from how bright its edges are."""
    shares = levels.double() / 255
    if shares.max() < 0.5:
        return None
    edges = []
    for line in (shares.amax(0), shares.amax(1)):
        bright = (line >= 0.5).nonzero().flatten()
        edges.append((float(bright[0]), float(bright[-1] + 1)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


@given(scene=scenes(), draws=DRAWS, image_size=st.tuples(st.integers(40, 90), st.integers(40, 90)))
def test_boxes_are_where_their_painted_rectangles_come_to_lie(
    scene: tuple[tuple[int, int], tuple[int, int, int, int]], draws: list[float], image_size: tuple[int, int]
) -> None:
    size, box = scene
    frame = random_crop(size, image_size, 0.3, draws)
    moved = reframe(torch.tensor([box]).float(), frame, image_size)
    seen = found_again(painted(size, box).cut(frame, image_size)[0])
    thinnest = float((moved.xyxy[0, 2:] - moved.xyxy[0, :2]).min())
    if seen is None:
        assert thinnest <= 1
        assert not moved.is_kept
    elif thinnest > 2:  # Of thinner ones scaling leaves too little to measure.
        assert moved.xyxy[0].tolist() == pytest.approx(seen, abs=0.75)
    left, top, right, bottom = box
    rows = min(bottom, frame.top + frame.height) - max(top, frame.top)
    columns = min(right, frame.left + frame.width) - max(left, frame.left)
    share = max(rows, 0) * max(columns, 0) / ((right - left) * (bottom - top))
    assert float(moved.shares) == pytest.approx(share, abs=1e-4)


@given(scene=scenes())
def test_mirrored_boxes_are_where_their_mirrored_rectangles_lie(
    scene: tuple[tuple[int, int], tuple[int, int, int, int]],
) -> None:
    size, box = scene
    xyxy = torch.tensor([box]).float()
    turned = mirror(xyxy, size[1])
    assert tuple(turned[0].tolist()) == found_again(painted(size, box).pixels()[0].flip(1))
    assert torch.equal(mirror(turned, size[1]), xyxy)


@given(size=st.tuples(SIDES, SIDES), draws=DRAWS, more=DRAWS)
def test_a_frame_of_a_frame_moves_boxes_as_both_do(
    size: tuple[int, int], draws: list[float], more: list[float]
) -> None:
    between, last = (64, 48), (32, 80)
    outer, inner = random_crop(size, between, 0.3, draws), random_crop(between, last, 0.3, more)
    xyxy = torch.tensor([[0.0, 0.0, size[1], size[0]], [3, 4, 15, 17]])
    at_once = reframe(xyxy, compose(outer, inner, between), last)
    first = reframe(xyxy, outer, between)
    there = first.shares > 0
    then = reframe(first.xyxy[there], inner, last)
    assert torch.allclose(at_once.xyxy[there], then.xyxy, atol=1e-2)


@pytest.mark.parametrize(("visible", "is_kept"), [(24, False), (25, True), (100, True)])
def test_a_box_of_which_less_than_a_quarter_is_seen_is_none(visible: int, is_kept: bool) -> None:
    frame = Frame(0.0, 0.0, 50.0, float(visible))
    moved = reframe(torch.tensor([[0.0, 10.0, 100.0, 20.0]]), frame, (50, visible))
    assert float(moved.shares) == pytest.approx(visible / 100)
    assert bool(moved.is_kept) == is_kept


def test_a_box_that_becomes_a_pixel_wide_is_none() -> None:
    xyxy = torch.tensor([[0.0, 0.0, 10.0, 40.0], [0.0, 0.0, 10.1, 40.0]])
    assert reframe(xyxy, whole((100, 100)), (10, 10)).is_kept.tolist() == [False, True]


def known_things() -> BoxTargets:
    things = (
        Instance((2.0, 4.0, 12.0, 14.0), "b", outline=Numbered(np.tri(20, dtype=np.int64), 1)),
        Instance((0.0, 0.0, 3.0, 20.0), "a", crowd=True),
        Instance((16.0, 0.0, 20.0, 4.0), "a", difficult=True),
    )
    images = BoxedTensors(
        images=torch.zeros(3, 1, 20, 20, dtype=torch.uint8),
        labels=torch.zeros(3, dtype=torch.int64),
        classes=("a", "b"),
        annotations=(Annotation(), Annotation(things), Annotation(things[:1])),
        most=4,
        mask_side=5,
    )
    return images.known()


def test_what_is_ignored_is_not_to_be_found_and_what_is_not_there_neither() -> None:
    known = known_things()
    assert known.valid.tolist() == [[False] * 4, [True, False, False, False], [True, False, False, False]]
    assert known.ignored.tolist() == [[False] * 4, [False, True, True, False], [False] * 4]
    assert known.labels.tolist() == [[0] * 4, [1, 0, 0, 0], [1, 0, 0, 0]]
    assert known.xyxy[1].tolist() == [[2, 4, 12, 14], [0, 0, 3, 20], [16, 0, 20, 4], [0, 0, 0, 0]]


def test_targets_are_divided_and_mirrored_image_by_image() -> None:
    known = known_things()
    assert known.masks is not None
    parts = known.tensor_split(2)
    assert [len(part) for part in parts] == [2, 1]
    for whole_one, divided in zip(known.truths, zip(*(part.truths for part in parts), strict=True), strict=True):
        assert torch.equal(torch.cat(divided), whole_one)
    turned = known.mirrored(torch.tensor([True, True, False]), 20)
    assert turned.xyxy[1].tolist() == [[8, 4, 18, 14], [17, 0, 20, 20], [0, 0, 4, 4], [0, 0, 0, 0]]
    assert turned.xyxy[2].tolist() == known.xyxy[2].tolist()
    assert not turned.xyxy[0].any()
    assert turned.masks is not None
    assert torch.equal(turned.masks[1], known.masks[1].flip(2))
    assert torch.equal(turned.masks[2], known.masks[2])
    again = turned.mirrored(torch.tensor([True, True, False]), 20)
    assert all(torch.equal(one, other) for one, other in zip(again.truths, known.truths, strict=True))
    meta = known.to(torch.device("meta"))
    assert [tensor.shape for tensor in meta.truths] == [tensor.shape for tensor in known.truths]
    blank = BoxTargets.blank(3, 4, 5, device="meta")
    assert [(t.shape, t.dtype) for t in blank.truths] == [(t.shape, t.dtype) for t in known.truths]


def test_masks_show_what_lies_in_what_is_left_of_a_box() -> None:
    """Below the diagonal of 20 x 20 pixels: of a square on it, half; of what lies below it, all."""
    corner = np.tri(20, dtype=np.int64)
    boxes = ((4.0, 4.0, 16.0, 16.0), (0.0, 12.0, 8.0, 20.0), (12.0, 0.0, 20.0, 8.0))
    things = tuple(Instance(box, "a", outline=Numbered(corner, 1)) for box in boxes)
    images = BoxedTensors(
        images=torch.zeros(1, 1, 20, 20, dtype=torch.uint8),
        labels=torch.zeros(1, dtype=torch.int64),
        classes=("a",),
        annotations=(Annotation(things),),
        most=3,
        mask_side=12,
    )
    known = images.known()
    assert known.masks is not None
    shares = known.masks[0].double().mean((1, 2)) / 255
    assert shares.tolist() == pytest.approx([13 / 24, 1, 0])
    assert torch.equal(known.masks[0, 0] > 127, torch.ones(12, 12).tril().bool())
    # The right half of the image: of the first box, its upper right part is seen.
    half = images.known(lambda _place, _size: Frame(0.0, 10.0, 20.0, 10.0))
    assert half.masks is not None
    assert half.valid[0].tolist() == [True, False, True]
    seen = corner[4:16, 10:16].mean()
    assert float(half.masks[0, 0].double().mean() / 255) == pytest.approx(seen, abs=0.02)


@pytest.mark.parametrize("crop_pct", [None, 1.0, 0.6])
def test_images_in_files_and_in_memory_are_known_alike(tmp_path: Path, crop_pct: float | None) -> None:
    """In memory they are scaled before they are cut again, in files at once: boxes come to lie in the same places."""
    reading = Reading(boxes=BoxOptions(6))
    files = open_data(str(write_instances(tmp_path / "data", {"train": 5, "val": 1})), 0, reading).train
    assert isinstance(files, BoxedFiles)
    tensors = BoxedTensors(
        images=files.prepared(3, SIZE, None).pixels(),
        labels=files.labels,
        classes=files.classes,
        annotations=files.annotations,
        most=files.most,
        mask_side=6,
    )

    def framing(place: int, size: tuple[int, int]) -> Frame:
        return random_crop(size, (32, 32), 0.5, np.random.default_rng(place).random(4).tolist())

    prepared = [images.prepared(3, (32, 32), crop_pct) for images in (files, tensors)]
    assert all(isinstance(images, BoxedFiles | BoxedTensors) for images in prepared)
    one, other = (images.known() for images in prepared)
    assert isinstance(one, BoxTargets)
    assert isinstance(other, BoxTargets)
    for mine, theirs in zip(one.truths, other.truths, strict=True):
        assert torch.allclose(mine.double(), theirs.double(), atol=1e-4)
    # A frame is one of the image as it is stored, in files, and of what it was scaled to, in memory.
    if crop_pct is None:
        scaled = tensors.prepared(3, (32, 32), None).known(framing)
        for place in range(len(tensors)):
            frame = compose(whole(SIZE), framing(place, (32, 32)), (32, 32))
            things = draw_things(int(Path(files.source(place)).stem))[1]
            wanted = reframe(torch.tensor([thing.xyxy for thing in things]).float(), frame, (32, 32))
            assert torch.equal(scaled.valid[place, : len(things)], wanted.is_kept)
            there = scaled.valid[place]
            assert torch.allclose(scaled.xyxy[place][there], wanted.xyxy[wanted.is_kept], atol=1e-3)


def test_a_part_of_a_set_has_its_own_boxes(tmp_path: Path) -> None:
    reading = Reading(boxes=BoxOptions(6))
    images = open_data(str(write_instances(tmp_path / "data", {"train": 6, "val": 1})), 0, reading).train
    images = images.prepared(3, (20, 26), 0.9)
    chosen = [4, 1, 4]
    some, every = images.subset(chosen).known(), images.known()
    assert isinstance(some, BoxTargets)
    assert isinstance(every, BoxTargets)
    assert all(torch.equal(mine, each[chosen]) for mine, each in zip(some.truths, every.truths, strict=True))
    frame = middle(SIZE, (20, 26), 0.9)
    assert frame.height < SIZE[0]
