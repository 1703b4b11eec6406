"""Detectors: what they learn from, by closed forms and by hand, and what they find, whatever the backbone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.boxes import encode_boxes, pairwise_iou
from striate.detection.anchors import Anchors
from striate.detection.detector import Detector
from striate.detection.faster_rcnn import FasterRCNN
from striate.detection.found import detections_of, packed, paste
from striate.detection.losses import sample_regions
from striate.detection.mask_rcnn import MaskRCNN, mask_targets
from striate.detection.matching import ANCHORS
from striate.detection.postprocess import PostProcess
from striate.detection.proposals import Proposals
from striate.detection.pyramid import FeaturePyramid
from striate.detection.targets import Truths
from striate.errors import UsageError
from striate.zoo import create_model

SIZE = (64, 96)
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("faster_rcnn", {}),
    ("faster_rcnn", {"pool": "align"}),
    ("faster_rcnn", {"pyramid": True}),
    ("mask_rcnn", {}),
    ("mask_rcnn", {"pyramid": False}),
    ("yolo", {"channels": 32}),
    ("yolov3", {"channels": 8}),
]
LOSSES = {
    "faster_rcnn": {"objectness", "proposal_boxes", "classes", "boxes"},
    "mask_rcnn": {"objectness", "proposal_boxes", "classes", "boxes", "masks"},
    "yolo": {"middles", "sides", "confidence", "nothing", "classes"},
    "yolov3": {"middles", "sides", "objectness", "classes"},
}
ways = pytest.mark.parametrize(("name", "options"), WAYS)


def build(name: str, **options: Any) -> Detector:
    torch.manual_seed(0)
    made = create_model(name, **{"num_classes": 3, "image_size": SIZE, "backbone": "resnet18", **options})
    assert isinstance(made, Detector)
    made.fit_anchors(torch.tensor([[16.0, 16.0], [24.0, 24.0], [40.0, 40.0]]))
    return made


def scene(count: int = 2, mask_side: int | None = None) -> tuple[Tensor, Truths]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, *SIZE, generator=generator)
    boxes = torch.tensor([[8.0, 8.0, 32.0, 32.0], [40.0, 20.0, 80.0, 60.0], [0.0, 0.0, 0.0, 0.0]]).repeat(count, 1, 1)
    labels = torch.tensor([0, 2, 0]).repeat(count, 1)
    valid = torch.tensor([True, True, False]).repeat(count, 1)
    masks = None
    if mask_side is not None:
        masks = torch.zeros(count, 3, mask_side, mask_side, dtype=torch.uint8)
        masks[:, :2, :, : mask_side // 2] = 255  # The left half of each thing.
    return images, Truths(boxes, labels, valid, torch.zeros_like(valid), masks)


def tensors(truth: Truths) -> list[Tensor]:
    return [tensor for tensor in truth if tensor is not None]


@ways
def test_all_of_a_detector_learns(name: str, options: dict[str, Any]) -> None:
    network = build(name, **options).train()
    images, truth = scene(mask_side=network.mask_side)
    losses = network.losses(images, *tensors(truth))
    assert set(losses) == LOSSES[name]
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mask_rcnn", {"hidden": 64, "channels": 32}),
        ("yolo", {"channels": 32, "drop_rate": 0.0}),
        ("yolov3", {"channels": 8}),
    ],
)
def test_it_learns_two_things_by_heart(name: str, options: dict[str, Any]) -> None:
    network = build(name, **options).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # Of two images, statistics say little.
    images, truth = scene(mask_side=network.mask_side)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    torch.manual_seed(2)
    for _ in range(80):
        optimizer.zero_grad()
        torch.stack(list(network.losses(images, *tensors(truth)).values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
    with torch.inference_mode():
        found = packed(network.eval()(images))
    for rows in found:
        things = detections_of(rows, ("a", "b", "c"), SIZE, SIZE).above(0.5)
        assert set(things.labels.tolist()) == {0, 2}
        for label, box in ((0, truth.xyxy[0, 0]), (2, truth.xyxy[0, 1])):
            place = things.labels.tolist().index(label)  # The surest comes first.
            assert float(pairwise_iou(torch.from_numpy(things.boxes_xyxy[place : place + 1]), box[None])) > 0.6
            if network.mask_side is None:
                continue
            left, top, right, bottom = box.int().tolist()
            true = torch.zeros(SIZE, dtype=torch.bool)
            true[top:bottom, left : (left + right) // 2] = True
            said = torch.from_numpy(things.mask(place))
            assert (said & true).sum() / (said | true).sum() > 0.6


@ways
def test_shapes_depend_on_the_images_size_alone(name: str, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = create_model(name, num_classes=3, image_size=(70, 50), **options).eval()
        found = network(torch.empty(2, 3, 70, 50))
    assert found.boxes_xyxy.shape == (2, 100, 4)
    assert found.scores.shape == found.labels.shape == found.valid.shape == (2, 100)
    assert (None if found.masks is None else found.masks.shape) == ((2, 100, 28, 28) if name == "mask_rcnn" else None)


def test_losses_are_those_of_the_papers_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all anchors learned from, and every proposal, none is drawn; then a loop can say what the losses are."""
    from striate.detection import losses as learned

    monkeypatch.setattr(learned, "ANCHORS_LEARNED", 10_000)
    monkeypatch.setattr(learned, "PROPOSALS_LEARNED", 10_000)
    monkeypatch.setattr(learned, "ANCHORS_ONE_IN", 1)
    monkeypatch.setattr(learned, "PROPOSALS_ONE_IN", 1)
    network = build("faster_rcnn").eval()
    assert isinstance(network, FasterRCNN)
    images, truth = scene()
    with torch.no_grad():
        losses = network.losses(images, *tensors(truth))
        seen = network.look(images)
        (scores,), (offsets,), (anchors,) = seen.said
        proposals = network.proposals_train(*seen.said, SIZE)
        wanted = dict.fromkeys(losses, 0.0)
        for image in range(2):
            boxes = truth.xyxy[image, :2]
            overlaps = pairwise_iou(anchors, boxes)
            best = overlaps.max(0).values
            objectness, moved, count = 0.0, 0.0, 0
            for place, row in enumerate(overlaps):
                most, thing = row.max(0)
                is_thing = bool(most >= 0.7) or any(float(row[k]) == float(best[k]) > 0 for k in range(2))
                if not is_thing and most >= 0.3:
                    continue
                count += 1
                objectness += float(F.softplus(-scores[image, place] if is_thing else scores[image, place]))
                if is_thing:
                    off = (offsets[image, place] - encode_boxes(boxes[thing], anchors[place])).abs()
                    moved += float(torch.where(off < 1 / 9, 4.5 * off**2, off - 1 / 18).sum())
            wanted["objectness"] += objectness / count / 2
            wanted["proposal_boxes"] += moved / count / 2
            every = torch.cat([proposals.boxes_xyxy[image][proposals.valid[image]], boxes])
            regions = network.regions(seen.maps, torch.stack([every, every]), 7)[image * len(every) :][: len(every)]
            hidden = network.box_head(regions)
            logits, corrections = network.score(hidden), network.offset(hidden).view(len(every), 3, 4)
            of_classes, of_boxes = 0.0, 0.0
            for place, box in enumerate(every):
                most, thing = pairwise_iou(box[None], boxes)[0].max(0)
                is_thing = bool(most >= 0.5)
                label = int(truth.labels[image, thing]) if is_thing else -1
                of_classes -= float(logits[place].log_softmax(0)[label + 1])
                if is_thing:
                    aim = encode_boxes(boxes[thing], box, (10.0, 10.0, 5.0, 5.0))
                    off = (corrections[place, label] - aim).abs()
                    of_boxes += float(torch.where(off < 1, off**2 / 2, off - 0.5).sum())
            wanted["classes"] += of_classes / len(every) / 2
            wanted["boxes"] += of_boxes / len(every) / 2
    for loss, value in wanted.items():
        assert float(losses[loss]) == pytest.approx(value, rel=2e-4), loss


def test_ignored_things_are_neither_learned_nor_background() -> None:
    network = build("faster_rcnn").train()
    images, truth = scene()
    nothing = truth._replace(valid=torch.zeros_like(truth.valid))
    hidden = nothing._replace(ignored=truth.valid)
    torch.manual_seed(0)
    assert float(network.losses(images, *tensors(hidden))["proposal_boxes"].detach()) == 0
    # Of the boxes, one is the thing, one is small and within it, one is half beside it, one is elsewhere.
    anchors = [[8.0, 8.0, 32.0, 32.0], [10.0, 10.0, 16.0, 16.0], [21.0, 8.0, 45.0, 32.0], [60.0, 0.0, 90.0, 16.0]]
    for known, drawn in ((truth, 4), (nothing, 4), (hidden, 2)):
        regions = sample_regions(torch.tensor(anchors), known, ANCHORS, 4, 1)
        assert regions.sample.valid.sum(1).tolist() == [drawn, drawn]
    kept = regions.sample.indices[0][regions.sample.valid[0]]
    assert sorted(kept.tolist()) == [2, 3]


@pytest.mark.parametrize("name", ["faster_rcnn", "yolo", "yolov3"])
def test_parts_of_a_batch_add_up_to_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that micro-batches learn the same, but for what is drawn at random."""
    from striate.detection import losses as learned

    for limit in ("ANCHORS_LEARNED", "PROPOSALS_LEARNED"):
        monkeypatch.setattr(learned, limit, 10_000)
    for share in ("ANCHORS_ONE_IN", "PROPOSALS_ONE_IN"):
        monkeypatch.setattr(learned, share, 1)
    network = build(name).eval()
    images, truth = scene(3)
    truth.valid[1, 1], truth.valid[2] = False, False  # A thing in one of them, and none in another.
    with torch.no_grad():
        whole = network.losses(images, *tensors(truth))
        parts = [network.losses(images[i : i + 1], *(t[i : i + 1] for t in tensors(truth))) for i in range(3)]
    for loss, value in whole.items():
        assert float(value) == pytest.approx(sum(float(part[loss]) for part in parts) / 3, rel=1e-4)


def test_a_mask_is_learned_where_its_region_lies() -> None:
    _, truth = scene(1, 56)
    thing = torch.tensor([[0, 0, 1]])
    inside, shifted, elsewhere = [8.0, 8.0, 32.0, 32.0], [-4.0, 8.0, 20.0, 32.0], [100.0, 100.0, 120.0, 120.0]
    targets = mask_targets(torch.tensor([[inside, shifted, elsewhere]]), thing, truth, 28)
    half = torch.zeros(28, 28)
    half[:, :14] = 1
    assert torch.equal(targets[0], half)
    middle = torch.zeros(28, 28)
    middle[:, 14:] = 1  # From 8 to 20 of -4 to 20.
    assert torch.equal(targets[1], middle)
    assert not targets[2].any()
    assert truth.masks is not None
    for level, is_its in ((127, False), (128, True)):  # What is half the thing's or more is its.
        soft = truth._replace(masks=torch.full_like(truth.masks, level))
        assert float(mask_targets(torch.tensor([[inside]]), thing[:, :1], soft, 28).mean()) == is_its


def test_results_are_those_of_a_loop() -> None:
    torch.manual_seed(3)
    find = PostProcess((10.0, 10.0, 5.0, 5.0), 0.05, 0.5, 20)
    corners = torch.rand(2, 40, 2) * 60
    boxes = torch.cat([corners, corners + 5 + torch.rand(2, 40, 2) * 30], 2).clamp_max(90)
    valid = torch.rand(2, 40) > 0.2
    scores, offsets = torch.randn(80, 4) * 2, torch.randn(80, 12) * 0.3
    said = find(scores.softmax(1)[:, 1:], offsets, Proposals(boxes, torch.zeros(2, 40), valid), (80, 90))
    for image in range(2):
        rows: list[tuple[float, int, list[float]]] = []
        shares = scores[40 * image : 40 * image + 40].softmax(1)
        for label in range(3):
            candidates = []
            for place in range(40):
                if not valid[image, place] or shares[place, label + 1] <= 0.05:
                    continue
                left, top, right, bottom = boxes[image, place].tolist()
                dx, dy, dw, dh = offsets[40 * image + place, 4 * label : 4 * label + 4].tolist()
                width, height = right - left, bottom - top
                x, y = left + width / 2 + dx / 10 * width, top + height / 2 + dy / 10 * height
                w, h = width * float(torch.tensor(dw / 5).exp()), height * float(torch.tensor(dh / 5).exp())
                box = [max(x - w / 2, 0), max(y - h / 2, 0), min(x + w / 2, 90), min(y + h / 2, 80)]
                candidates.append((float(shares[place, label + 1]), box))
            kept: list[tuple[float, list[float]]] = []
            for score, box in sorted(candidates, key=lambda each: -each[0]):
                others = torch.tensor([other for _, other in kept]).view(-1, 4)
                if not (pairwise_iou(torch.tensor([box]), others) > 0.5).any():
                    kept.append((score, box))
            rows += [(score, label, box) for score, box in kept]
        rows.sort(key=lambda row: -row[0])
        count = int(said.valid[image].sum())
        assert count == min(len(rows), 20)
        assert said.scores[image, :count].tolist() == pytest.approx([row[0] for row in rows[:20]], abs=1e-5)
        assert said.labels[image, :count].tolist() == [row[1] for row in rows[:20]]
        expected = torch.tensor([row[2] for row in rows[:20]])
        torch.testing.assert_close(said.boxes_xyxy[image, :count], expected, rtol=1e-4, atol=1e-3)
        assert not said.boxes_xyxy[image, count:].any()


def test_what_is_left_of_a_box_beside_its_image_is_no_result() -> None:
    find = PostProcess((1.0, 1.0, 1.0, 1.0), 0.05, 0.5, 5)
    boxes = torch.tensor([[[10.0, 10.0, 20.0, 20.0], [30.0, 10.0, 40.0, 20.0]]])
    offsets = torch.tensor([[-3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])  # The first moves out of the image.
    scores = torch.tensor([[0.0, 5.0], [0.0, 4.0]])
    said = find(
        scores.softmax(1)[:, 1:],
        offsets,
        Proposals(boxes, torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)),
        (50, 50),
    )
    assert said.valid.sum() == 1
    assert said.boxes_xyxy[0, 0].tolist() == [30.0, 10.0, 40.0, 20.0]


def test_only_the_surest_boxes_of_some_class_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    from striate.detection import postprocess

    monkeypatch.setattr(postprocess, "CANDIDATES", 3)
    edges = torch.arange(6.0)[:, None] * 10
    boxes = torch.cat([edges, edges, edges + 5, edges + 5], 1)[None]  # None overlaps another.
    scores = torch.tensor([[[0.1, 0.2], [0.9, 0.05], [0.3, 0.3], [0.2, 0.8], [0.4, 0.1], [0.35, 0.36]]])
    said = postprocess.PostProcessBoxes(0.1, 0.5, 10)(boxes, scores, (60, 60))
    assert said.scores[said.valid].tolist() == pytest.approx([0.9, 0.8, 0.4, 0.2])
    assert said.labels[said.valid].tolist() == [0, 1, 0, 0]
    assert said.boxes_xyxy[said.valid][:, 0].tolist() == [10.0, 30.0, 40.0, 30.0]


def test_a_pyramid_adds_coarse_maps_to_fine_ones() -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid([3, 5], 4)
    fine, coarse = torch.randn(1, 3, 7, 6), torch.randn(1, 5, 4, 3)
    made = pyramid([fine, coarse])
    above = pyramid.lateral[1](coarse)
    own = pyramid.lateral[0](fine)
    rows, columns = (torch.arange(7) * 4 // 7, torch.arange(6) * 3 // 6)
    torch.testing.assert_close(made[0], pyramid.smooth[0](own + above[:, :, rows][:, :, :, columns]))
    torch.testing.assert_close(made[1], pyramid.smooth[1](above))


def test_anchors_are_fitted_to_things_and_kept_with_the_weights() -> None:
    anchors = Anchors([[64], [128], [256]], (8, 16, 32))
    assert [tuple(each.shape) for each in anchors(*(torch.empty(1, 1, s, s) for s in (4, 2, 1)))] == [
        (48, 4),
        (12, 4),
        (3, 4),
    ]
    sides = torch.full((1000, 2), 40.0)
    sides[:30], sides[-30:] = 10.0, 160.0
    anchors.fit(sides)
    roots = [float((base[:, 2:] - base[:, :2]).prod(1).sqrt().mean()) for base in anchors.buffers()]
    assert roots == pytest.approx([10, 40, 160], rel=0.05)
    assert {name for name, _ in anchors.named_buffers()} == set(anchors.state_dict()) == {"level0", "level1", "level2"}


def test_detections_are_in_the_images_own_pixels() -> None:
    row = torch.tensor([[16.0, 8.0, 64.0, 40.0, 0.75, 1.0, 1.0], [0, 0, 0, 0, 0, 0, 0]])
    found = detections_of(row, ("a", "b"), SIZE, (128, 48))
    assert found.boxes_xyxy.tolist() == [[8.0, 16.0, 32.0, 80.0]]
    assert (found.scores.tolist(), found.labels.tolist(), found.image_size) == ([0.75], [1], (128, 48))


def test_a_mask_is_pasted_into_the_pixels_of_its_box() -> None:
    left = torch.zeros(28, 28)
    left[:, :14] = 1
    pasted = paste(left, (10.0, 20.0, 30.0, 26.0))
    assert pasted.shape == (6, 20)
    assert pasted[:, :10].all()
    assert not pasted[:, 10:].any()
    assert paste(left, (10.25, 20.0, 10.25, 26.0)).shape == (6, 1)
    assert paste(left, (10.0, 20.0, 10.0, 26.0)).shape == (6, 0)
    assert paste(torch.ones(28, 28), (3.5, 3.5, 6.5, 5.25)).tolist() == [[True] * 4] * 3


def test_other_classes_leave_all_else_as_it_is() -> None:
    yolov3 = ["said.0", "said.1", "said.2"]
    rcnn = {"faster_rcnn": ["score", "offset"], "mask_rcnn": ["score", "offset", "mask"]}
    for name, layers in {**rcnn, "yolo": ["said"], "yolov3": yolov3}.items():
        network = build(name)
        assert network.output_layers() == layers
        before = {key: value.clone() for key, value in network.state_dict().items()}
        network.reset_classifier(7)
        assert network.num_classes == 7
        changed = {
            key.rpartition(".")[0] for key, value in network.state_dict().items() if not before[key].equal(value)
        }
        assert changed == set(layers)
        with torch.inference_mode():
            assert network.eval()(scene()[0]).labels.shape == (2, 100)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="pool of faster_rcnn as align, or without a pyramid as max"):
        create_model("faster_rcnn", pyramid=True, pool="max")
    with pytest.raises(UsageError, match="pyramid of faster_rcnn as true or false; received 'yes'"):
        create_model("faster_rcnn", pyramid="yes")
    with pytest.raises(UsageError, match="a backbone with a map of stride 16; received one with strides 1, 2"):
        create_model("faster_rcnn", backbone="mnist_cnn", in_chans=1, image_size=28)
    with pytest.raises(UsageError, match="of its backbone mobilenet_v2; received 'pyramids'. Did you mean pyramid"):
        create_model("faster_rcnn", pyramids=True)
    assert isinstance(create_model("mask_rcnn", backbone="vgg11"), MaskRCNN)


def test_no_layer_behind_the_last_map_is_there() -> None:
    names = [name for name, _ in create_model("faster_rcnn", backbone="resnet18").features.named_children()]
    assert names[-1] == "stage3"
    assert [info.stride for info in create_model("faster_rcnn", backbone="resnet18").feature_info] == [2, 4, 8, 16]
