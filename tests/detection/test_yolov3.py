"""YOLOv3: losses and results beside loops over its cells, and what its parts are like to begin with."""

from math import exp, log

import pytest
import torch
from torch import Tensor, nn

from striate.boxes import iou, share_inside
from striate.detection.cells import spread_cells
from striate.detection.targets import Truths
from striate.detection.yolov3 import Said, YOLOv3, cell_losses
from striate.zoo import create_model
from suppressed import best_by_loop

SIZE = (64, 96)
STRIDES = (8, 16, 32)
SIZES = [(8, 12), (4, 6), (2, 3)]
ANCHORS = torch.tensor(
    [
        [[6.0, 6.0], [8.0, 14.0], [16.0, 8.0]],
        [[20.0, 20.0], [16.0, 40.0], [40.0, 16.0]],
        [[40.0, 40.0], [60.0, 40.0], [50.0, 60.0]],
    ]
)
CLASSES = 4
NOTHING = [0.0, 0.0, 0.0, 0.0]

Box = list[float]


def scene() -> Truths:
    """Three images: things of all sizes, two in one place, and an ignored one; one with a thing; and an empty one."""
    first = [[5.0, 5.0, 12.0, 12.0], [6.0, 6.0, 13.0, 13.0], [50.0, 20.0, 90.0, 62.0], [10.0, 30.0, 60.0, 60.0]]
    second = [[20.0, 8.0, 40.0, 30.0], NOTHING, [30.0, 10.0, 32.0, 12.0], NOTHING]
    valid = [[True, True, True, False], [True, False, False, False], [False] * 4]
    ignored = [[False, False, False, True], [False] * 4, [False] * 4]
    labels = torch.tensor([[1, 2, 3, 0], [0, 0, 1, 0], [0] * 4])
    return Truths(torch.tensor([first, second, [NOTHING] * 4]), labels, torch.tensor(valid), torch.tensor(ignored))


def overlap(one: Box, other: Box) -> float:
    return float(iou(torch.tensor(one), torch.tensor(other)))


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def places() -> list[tuple[int, int, int, int]]:
    return [
        (level, row, column, anchor)
        for level, (rows, columns) in enumerate(SIZES)
        for row in range(rows)
        for column in range(columns)
        for anchor in range(3)
    ]


def box_of(said: list[float], place: tuple[int, int, int, int]) -> Box:
    level, row, column, anchor = place
    x, y = (column + sigmoid(said[0])) * STRIDES[level], (row + sigmoid(said[1])) * STRIDES[level]
    w, h = (float(ANCHORS[level, anchor, side]) * exp(said[2 + side]) for side in (0, 1))
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def place_of(box: Box) -> tuple[int, int, int, int]:
    """Return the place that is to find a thing."""
    w, h = box[2] - box[0], box[3] - box[1]
    shapes = [(level, anchor) for level in range(3) for anchor in range(3)]
    like = [overlap([0.0, 0.0, w, h], [0.0, 0.0, *ANCHORS[which].tolist()]) for which in shapes]
    level, anchor = shapes[like.index(max(like))]
    row, column = (int((box[side] + box[side + 2]) / 2 / STRIDES[level]) for side in (1, 0))
    return level, row, column, anchor


def test_losses_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    truth = scene()
    numbers = torch.randn(3, len(places()), 5 + CLASSES) * 0.3
    found = cell_losses(Said(numbers, spread_cells(ANCHORS, SIZES, STRIDES), SIZES), ANCHORS, SIZE[0] * SIZE[1], truth)
    wanted = dict.fromkeys(("middles", "sides", "objectness", "classes"), 0.0)
    left_out = {"near": 0, "hidden": 0, "taken": 0}
    for image in range(3):
        things = [k for k in range(4) if truth.valid[image, k]]
        boxes: list[Box] = truth.xyxy[image].tolist()
        learned: dict[tuple[int, int, int, int], int] = {}
        for thing in things:
            place = place_of(boxes[thing])
            left_out["taken"] += place in learned
            learned.setdefault(place, thing)
        for number, place in enumerate(places()):
            said = numbers[image, number].tolist()
            if place not in learned:
                box = box_of(said, place)
                near = any(overlap(box, boxes[thing]) > 0.5 for thing in things)
                hidden = any(
                    float(share_inside(torch.tensor(box), truth.xyxy[image, k])) >= 0.5
                    for k in range(4)
                    if truth.ignored[image, k]
                )
                left_out["near"] += near
                left_out["hidden"] += hidden and not near
                if not near and not hidden:
                    wanted["objectness"] -= log(1 - sigmoid(said[4])) / 3
                continue
            wanted["objectness"] -= log(sigmoid(said[4])) / 3
            thing, (level, row, column, anchor) = learned[place], place
            left, top, right, bottom = boxes[thing]
            weight = 2 - (right - left) * (bottom - top) / (64 * 96)
            aims = [(left + right) / 2 / STRIDES[level] - column, (top + bottom) / 2 / STRIDES[level] - row]
            for aim, value in zip(aims, said[:2], strict=True):
                share = sigmoid(value)
                wanted["middles"] -= weight * (aim * log(share) + (1 - aim) * log(1 - share)) / 3
            for side, extent in enumerate((right - left, bottom - top)):
                off = said[2 + side] - log(extent / float(ANCHORS[level, anchor, side]))
                wanted["sides"] += weight * off**2 / 2 / 3
            for kind in range(CLASSES):
                share = sigmoid(said[5 + kind])
                wanted["classes"] -= log(share if kind == truth.labels[image, thing] else 1 - share) / 3
    assert min(left_out.values()) > 0, "the scene has all cases"
    assert {name: float(value) for name, value in found.items()} == pytest.approx(wanted, rel=1e-4)


def build() -> YOLOv3:
    torch.manual_seed(0)
    network = create_model("yolov3", num_classes=CLASSES, backbone="resnet18", channels=8)
    assert isinstance(network, YOLOv3)
    network.fit_anchors(ANCHORS.view(-1, 2))  # Each is a thing's; so clusters are what is there, by area.
    return network.eval()


def test_results_are_those_of_a_loop_over_what_is_said() -> None:
    network = build()
    for name, parameter in network.said.named_parameters():
        nn.init.normal_(parameter, std=0.3 if name.endswith("weight") else 1.0)
    images = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        found, said = network(images), network.look(images)
    assert said.sizes == SIZES
    for image in range(2):
        rows = [
            (sigmoid(numbers[4]) * sigmoid(numbers[5 + kind]), kind, box_of(numbers, place))
            for numbers, place in zip(said.numbers[image].tolist(), places(), strict=True)
            for kind in range(CLASSES)
        ]
        best_by_loop(rows, found, image, SIZE, least=0.01)


def test_it_begins_with_its_anchors_and_sure_of_nothing() -> None:
    network = build()
    for name, parameter in network.said.named_parameters():
        if name.endswith("weight"):
            assert float(parameter.detach().std()) == pytest.approx(0.01, rel=0.2)
            nn.init.zeros_(parameter)
    with torch.inference_mode():
        said = network.look(torch.randn(1, 3, *SIZE))
        assert not network(torch.randn(1, 3, *SIZE)).valid.any()
    shapes = sorted(ANCHORS.view(-1, 2).tolist(), key=lambda shape: shape[0] * shape[1])
    for numbers, (level, _, _, anchor), own in zip(said.numbers[0], places(), said.cells.shapes, strict=True):
        assert own.tolist() == shapes[3 * level + anchor]
        assert numbers.tolist() == pytest.approx([0, 0, 0, 0, log(0.01 / 0.99)] + [0] * CLASSES)
    assert network.state_dict()["anchors"].view(-1, 2).tolist() == shapes


def test_finer_maps_are_made_with_what_was_made_of_coarser_ones() -> None:
    """A change of the coarsest map alone changes what is said on all maps; one of the finest, there alone."""
    network = build()
    counts = [3 * rows * columns for rows, columns in SIZES]
    images = torch.randn(1, 3, *SIZE)

    def said() -> list[Tensor]:
        return list(torch.split(network.look(images).numbers, counts, 1))

    with torch.inference_mode():
        before = said()
        for place, changed in ((2, [True, True, True]), (1, [True, True, False]), (0, [True, False, False])):
            weight = network.get_parameter(f"levels.{place}.mix.first.conv.weight")
            own = weight.clone()
            weight.mul_(1.5)
            assert [not a.allclose(b) for a, b in zip(said(), before, strict=True)] == changed
            weight.copy_(own)
