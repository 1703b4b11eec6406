"""Cells of maps, and which of them is to find which thing: beside loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from striate.boxes import pairwise_iou
from striate.detection.cells import Cells, assign, background, decode_cells, encode_cells, is_first, spread_cells
from striate.detection.targets import Truths

STRIDES = (8, 16)
SIZES = [(8, 12), (4, 6)]
ANCHORS = torch.tensor([[[8.0, 8.0], [10.0, 20.0]], [[30.0, 20.0], [50.0, 50.0]]])


def truths(xyxy: list[list[float]], valid: list[bool], ignored: list[bool] | None = None) -> Truths:
    """Return what is in one image."""
    count = len(xyxy)
    hidden = torch.tensor([ignored or [False] * count])
    return Truths(torch.tensor([xyxy]), torch.zeros(1, count, dtype=torch.int64), torch.tensor([valid]), hidden)


def test_places_are_those_of_a_loop() -> None:
    cells = spread_cells(ANCHORS, SIZES, STRIDES)
    place = 0
    for level, ((rows, columns), stride) in enumerate(zip(SIZES, STRIDES, strict=True)):
        for row in range(rows):
            for column in range(columns):
                for anchor in range(2):
                    assert cells.corners[place].tolist() == [column * stride, row * stride]
                    assert float(cells.steps[place]) == stride
                    assert cells.shapes[place].tolist() == ANCHORS[level, anchor].tolist()
                    place += 1
    assert len(cells.corners) == place


@given(st.integers(0, 1000))
def test_what_is_said_of_a_box_gives_the_box_back(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = spread_cells(ANCHORS, SIZES, STRIDES)
    places = torch.randint(len(cells.corners), (2, 7), generator=generator)
    own = Cells(*(part[places] for part in cells))
    middles = own.corners + own.steps * (0.02 + 0.96 * torch.rand(2, 7, 2, generator=generator))
    sides = own.shapes * (torch.rand(2, 7, 2, generator=generator) * 4 - 2).exp()
    boxes = torch.cat([middles - sides / 2, middles + sides / 2], -1)
    said = encode_cells(boxes, places, cells)
    whole = torch.zeros(2, len(cells.corners), 4)
    logits = torch.cat([said[..., :2].logit(), said[..., 2:]], -1)
    for image in range(2):
        for box, place in enumerate(places[image].tolist()):
            whole[image, place] = logits[image, box]
            found = decode_cells(whole, cells)[image, place]
            torch.testing.assert_close(found, boxes[image, box], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("box", "level", "row", "column", "anchor"),
    [
        ([9.0, 17.0, 18.0, 26.0], 0, 2, 1, 0),  # 9 x 9 around 13.5, 21.5.
        ([40.0, 20.0, 50.0, 42.0], 0, 3, 5, 1),
        ([60.0, 40.0, 92.0, 60.0], 1, 3, 4, 0),
        ([90.0, 58.0, 96.0, 64.0], 0, 7, 11, 0),
        ([92.0, 60.0, 100.0, 68.0], 0, 7, 11, 0),  # Its middle lies on the corner of the last cell.
        ([-5.0, -5.0, 1.0, 1.0], 0, 0, 0, 0),
    ],
)
def test_a_thing_falls_to_the_cell_of_its_middle_and_to_the_shape_most_like_it(
    box: list[float], level: int, row: int, column: int, anchor: int
) -> None:
    found = assign(truths([box], [True]), ANCHORS, SIZES, STRIDES)
    before = 0 if level == 0 else 2 * SIZES[0][0] * SIZES[0][1]
    assert found.places.tolist() == [[before + 2 * (row * SIZES[level][1] + column) + anchor]]
    assert found.learned.tolist() == [[True]]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=8))
def test_of_things_in_one_place_the_first_is_learned(things: list[tuple[int, bool]]) -> None:
    numbers, valid = (list(each) for each in zip(*things, strict=True))
    seen: set[int] = set()
    wanted = []
    for number, is_thing in things:
        wanted.append(is_thing and number not in seen)
        seen |= {number} if is_thing else set()
    assert is_first(torch.tensor([numbers]), torch.tensor([valid])).tolist() == [wanted]


def test_what_overlaps_a_thing_or_lies_in_an_ignored_one_is_not_background() -> None:
    things = [[10.0, 10.0, 30.0, 30.0], [50.0, 10.0, 90.0, 50.0], [5.0, 5.0, 6.0, 6.0]]
    truth = truths(things, [True, False, False], [False, True, False])
    boxes = torch.tensor(
        [
            [
                [12.0, 10.0, 32.0, 30.0],
                [20.0, 10.0, 40.0, 30.0],
                [55.0, 20.0, 60.0, 25.0],
                [41.0, 20.0, 59.0, 25.0],
                [40.0, 20.0, 61.0, 25.0],
                [5.0, 5.0, 6.0, 6.0],
            ]
        ]
    )
    assert (
        float(pairwise_iou(boxes[0, :1], truth.xyxy[0, :1]))
        > 0.5
        > float(pairwise_iou(boxes[0, 1:2], truth.xyxy[0, :1]))
    )
    said: Tensor = background(boxes, truth, 0.5)
    assert said.tolist() == [[False, True, False, False, False, True]]
    assert background(boxes, truth, float("inf")).tolist() == [[True, True, False, False, False, True]]
