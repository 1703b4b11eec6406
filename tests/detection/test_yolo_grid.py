"""YOLO: losses and results beside loops over its grid, and what it is like to begin with."""

import pytest
import torch

from striate.boxes import iou, share_inside
from striate.detection.targets import Truths
from striate.detection.yolo import YOLO, Said, grid_losses
from striate.errors import StriateError, UsageError
from striate.zoo import create_model
from suppressed import best_by_loop

SIZE = (60, 96)
ROWS, COLUMNS, EACH, CLASSES = 3, 4, 2, 3
HEIGHT, WIDTH = SIZE[0] / ROWS, SIZE[1] / COLUMNS  # Of a cell: 20 and 24.
NOTHING = [0.0, 0.0, 0.0, 0.0]


def build(boxes: int = EACH) -> YOLO:
    torch.manual_seed(0)
    network = create_model(
        "yolo",
        num_classes=CLASSES,
        image_size=SIZE,
        backbone="resnet18",
        channels=8,
        grid=[ROWS, COLUMNS],
        boxes=boxes,
    )
    assert isinstance(network, YOLO)
    return network.eval()


def scene() -> Truths:
    """Three images: two things in one cell, one at the edge and an ignored one; one with a thing; and an empty one."""
    first = [[2.0, 3.0, 20.0, 15.0], [4.0, 2.0, 16.0, 19.0], [90.0, 50.0, 102.0, 70.0], [30.0, 5.0, 95.0, 59.0]]
    second = [[20.0, 8.0, 90.0, 50.0], NOTHING, NOTHING, NOTHING]
    valid = [[True, True, True, False], [True, False, False, False], [False] * 4]
    ignored = [[False, False, False, True], [False] * 4, [False] * 4]
    labels = torch.tensor([[1, 2, 0, 0], [2, 0, 0, 0], [0] * 4])
    return Truths(torch.tensor([first, second, [NOTHING] * 4]), labels, torch.tensor(valid), torch.tensor(ignored))


def box_of(said: list[float], row: int, column: int) -> list[float]:
    x, y = (column + said[0]) * WIDTH, (row + said[1]) * HEIGHT
    w, h = said[2] ** 2 * SIZE[1], said[3] ** 2 * SIZE[0]
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def test_losses_are_those_of_a_loop() -> None:
    network, truth = build(), scene()
    boxes = torch.rand(3, ROWS * COLUMNS * EACH, 5)
    classes = torch.rand(3, ROWS * COLUMNS, CLASSES)
    found = grid_losses(network, Said(boxes, classes), truth)
    wanted = dict.fromkeys(("middles", "sides", "confidence", "nothing", "classes"), 0.0)
    of_cells = boxes.view(3, ROWS, COLUMNS, EACH, 5).tolist()
    hidden, responsible = 0, set()
    for image in range(3):
        for row in range(ROWS):
            for column in range(COLUMNS):
                own = [
                    k
                    for k in range(4)
                    if truth.valid[image, k]
                    and min(int(truth.xyxy[image, k, 1::2].mean() / HEIGHT), ROWS - 1) == row
                    and min(int(truth.xyxy[image, k, 0::2].mean() / WIDTH), COLUMNS - 1) == column
                ]
                said = of_cells[image][row][column]
                made = [box_of(numbers, row, column) for numbers in said]
                finds, shares = -1, [0.0]
                if own:
                    shares = [float(iou(torch.tensor(box), truth.xyxy[image, own[0]])) for box in made]
                    finds = shares.index(max(shares))
                    responsible.add(finds)
                    left, top, right, bottom = truth.xyxy[image, own[0]].tolist()
                    aims = [(left + right) / 2 / WIDTH - column, (top + bottom) / 2 / HEIGHT - row]
                    aims += [((right - left) / SIZE[1]) ** 0.5, ((bottom - top) / SIZE[0]) ** 0.5]
                    off = [(a - b) ** 2 for a, b in zip(said[finds], aims, strict=False)]
                    wanted["middles"] += 5 * sum(off[:2]) / 3
                    wanted["sides"] += 5 * sum(off[2:]) / 3
                    wanted["confidence"] += (said[finds][4] - shares[finds]) ** 2 / 3
                    for kind, share in enumerate(classes[image, row * COLUMNS + column].tolist()):
                        wanted["classes"] += (share - (kind == int(truth.labels[image, own[0]]))) ** 2 / 3
                for number, box in enumerate(made):
                    if number == finds:
                        continue
                    inside = share_inside(torch.tensor(box), truth.xyxy[image][truth.ignored[image]])
                    if (inside >= 0.5).any():
                        hidden += 1
                    else:
                        wanted["nothing"] += 0.5 * said[number][4] ** 2 / 3
    assert hidden > 0, "the scene has all cases"
    assert responsible == {0, 1}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(wanted, rel=1e-4)


def test_results_are_those_of_a_loop_over_what_is_said() -> None:
    network = build()
    torch.nn.init.uniform_(network.said.bias, -0.1, 1.1)
    torch.nn.init.normal_(network.said.weight, std=0.05)
    images = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        found, said = network(images), network.look(images)
    for image in range(2):
        rows = []
        for cell in range(ROWS * COLUMNS):
            kinds = [min(max(share, 0), 1) for share in said.classes[image, cell].tolist()]
            for numbers in said.boxes[image, EACH * cell : EACH * cell + EACH].tolist():
                box = box_of(numbers, cell // COLUMNS, cell % COLUMNS)
                rows += [(min(max(numbers[4], 0), 1) * share, kind, box) for kind, share in enumerate(kinds)]
        best_by_loop(rows, found, image, SIZE, least=0.01)


def test_what_is_said_of_a_box_gives_the_box_back() -> None:
    network = build(boxes=1)
    corners = torch.rand(1, ROWS * COLUMNS, 2) * 40
    boxes = torch.cat([corners, corners + 4 + torch.rand(1, ROWS * COLUMNS, 2) * 30], 2)
    cells, said = network.encode(boxes)
    for box, (cell, numbers) in enumerate(zip(cells[0].tolist(), said[0], strict=True)):
        whole = torch.zeros(1, ROWS * COLUMNS, 5)
        whole[0, cell, :4] = numbers
        torch.testing.assert_close(network.decode(whole)[0, cell], boxes[0, box])
        assert 0 <= float(numbers[:2].min()) <= float(numbers[:2].max()) < 1


def test_the_boxes_of_each_cell_begin_with_the_shapes_of_things() -> None:
    network = build()
    network.fit_anchors(torch.tensor([[12.0, 6.0], [48.0, 30.0], [12.0, 6.0]]))
    torch.nn.init.zeros_(network.said.weight)
    images = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        boxes = network.decode(network.look(images).boxes)[0].view(ROWS, COLUMNS, EACH, 4)
        assert not network(images).valid.any()
    torch.testing.assert_close(boxes[1, 2, 0], torch.tensor([54.0, 27.0, 66.0, 33.0]))
    torch.testing.assert_close(boxes[1, 2, 1], torch.tensor([36.0, 15.0, 84.0, 45.0]))
    assert (boxes[..., 2:] - boxes[..., :2]).unique(dim=2).shape == (ROWS, COLUMNS, EACH, 2)  # type: ignore[no-untyped-call]


def test_the_dense_layer_begins_as_a_convolution() -> None:
    """Each cell says the same of the same place of the maps; and once it has learned, it sees all of them."""
    network = build()
    torch.nn.init.zeros_(network.said.bias)
    count = ROWS * COLUMNS
    maps = torch.randn(1, 8, ROWS, COLUMNS)
    said = network.said(maps.flatten(1) / (10 * count)).view(count, -1)
    kernel = torch.nn.functional.conv2d
    own = network.said.weight.view(count, -1, 8, count)[0, :, :, 0] / (10 * count)
    expected = kernel(maps, own[:, :, None, None]).flatten(2)[0].T
    torch.testing.assert_close(said, expected)
    assert own.std().item() == pytest.approx(0.1 / 8**0.5, rel=0.3)  # Of maps of variance 1 it says a tenth of that.


@pytest.mark.parametrize(
    ("side", "grid", "places"),
    [(448, 7, (7, 7)), (224, 7, (7, 7)), (416, [6, 7], (7, 7)), (416, [8, 7], (13, 13))],
)
def test_no_fewer_places_than_cells_are_left_where_the_backbone_has_as_many(
    side: int, grid: int | list[int], places: tuple[int, int]
) -> None:
    with torch.device("meta"):
        network = create_model("yolo", image_size=side, grid=grid, channels=8).eval()
        said = network.get_submodule("convolutions")(network.features(torch.empty(1, 3, side, side)))
        assert said.shape[2:] == places


def test_what_cannot_be_is_refused() -> None:
    for grid in (0, [7], [7, 7, 7], [0, 3]):
        with pytest.raises(UsageError, match=r"of yolo grid as a number or a pair.*grid=\[?\d"):
            create_model("yolo", grid=grid)
    with pytest.raises(UsageError, match="received grid=7, boxes=0"):
        create_model("yolo", boxes=0)
    with pytest.raises(UsageError, match="a backbone with a map of stride 32; received one with strides 1, 2"):
        create_model("yolo", backbone="mnist_cnn", in_chans=1, image_size=28)
    with pytest.raises(StriateError, match="60x96 pixels, for which this network was built; received 64x96"):
        build().losses(torch.zeros(1, 3, 64, 96), torch.zeros(1, 1, 4))
