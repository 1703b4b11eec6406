"""Networks that are shown proposals: crops, what they learn from, and their last stages, by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC
from torch import Tensor
from torch.nn import functional as F

from striate.boxes import encode_boxes, pairwise_iou
from striate.detection import losses as learned
from striate.detection.box_regression import PENALTY, BoxRegression
from striate.detection.detector import Detector
from striate.detection.found import packed
from striate.detection.hard_negatives import HardNegatives
from striate.detection.rcnn import CONTEXT, RCNN, warp
from striate.detection.region_detector import MapDetector
from striate.detection.targets import Truths
from striate.errors import UsageError
from striate.zoo import create_model

SIZE = (64, 96)
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("fast_rcnn", {}),
    ("fast_rcnn", {"pyramid": True}),
    ("rcnn", {"side": 32}),
    ("rcnn", {"side": 32, "head": "softmax"}),
]
ways = pytest.mark.parametrize(("name", "options"), WAYS)


def build(name: str, **options: Any) -> Detector:
    torch.manual_seed(0)
    made = create_model(name, **{"num_classes": 3, "backbone": "resnet18", "proposals": 12, "hidden": 32, **options})
    assert isinstance(made, Detector)
    return made


def scene() -> tuple[Tensor, Tensor, Truths]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, *SIZE, generator=generator)
    things = torch.tensor([[8.0, 8.0, 32.0, 32.0], [40.0, 20.0, 80.0, 60.0], [0.0, 0.0, 0.0, 0.0]]).repeat(2, 1, 1)
    corners = torch.rand(2, 12, 2, generator=generator) * torch.tensor([60.0, 40.0])
    proposals = torch.cat([corners, corners + 4 + torch.rand(2, 12, 2, generator=generator) * 20], 2)
    proposals[:, 0] = things[:, 0] + 2
    proposals[:, 1] = things[:, 1] - 3
    proposals[:, -3:] = 0
    labels, valid = torch.tensor([0, 2, 0]).repeat(2, 1), torch.tensor([True, True, False]).repeat(2, 1)
    return images, proposals, Truths(things, labels, valid, torch.zeros_like(valid))


@ways
def test_all_that_learns_by_gradients_does(name: str, options: dict[str, Any]) -> None:
    network = build(name, **options).train()
    images, proposals, truth = scene()
    losses = network.losses(images, proposals, *truth[:4])
    assert set(losses) == ({"classes", "boxes"} if name == "fast_rcnn" else {"classes"})
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    wanted = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    learning = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    # These boxes are small, and all of them are looked up on the finest map.
    assert wanted - learning == {name for name in wanted if name.startswith(("pyramid.smooth.1", "pyramid.smooth.2"))}
    still = {name for name, _ in network.named_parameters()} - wanted
    assert still == (set() if name == "fast_rcnn" else {"offset.weight", "offset.bias"})


@ways
def test_shapes_are_known_and_what_is_no_proposal_finds_nothing(name: str, options: dict[str, Any]) -> None:
    network = build(name, **options).eval()
    images, proposals, _ = scene()
    with torch.no_grad():
        found, none = network(images, proposals), network(images, torch.zeros_like(proposals))
        alone = packed(network(images[1:], proposals[1:]))
    assert found.boxes_xyxy.shape == (2, 100, 4)
    assert found.valid.any()
    assert not none.valid.any()
    torch.testing.assert_close(packed(found)[1:], alone, rtol=1e-4, atol=1e-4)
    with torch.device("meta"):
        meta = create_model(name, **{"proposals": 12, **options}).eval()
        assert meta(torch.empty(2, 3, 70, 50), torch.empty(2, 12, 4)).scores.shape == (2, 100)


@pytest.mark.parametrize("name", ["fast_rcnn", "rcnn"])
def test_losses_are_those_of_the_papers_by_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all proposals learned from, none is drawn; then a loop can say what the losses are."""
    monkeypatch.setattr(learned, "PROPOSALS_LEARNED", 100)
    monkeypatch.setattr(learned, "PROPOSALS_ONE_IN", 1)
    network = build(name).eval()
    assert isinstance(network, RCNN | MapDetector)
    images, proposals, truth = scene()
    with torch.no_grad():
        losses = network.losses(images, proposals, *truth[:4])
        wanted = dict.fromkeys(losses, 0.0)
        for image in range(2):
            boxes = torch.cat([proposals[image, :9], truth.xyxy[image, :2]])
            if isinstance(network, RCNN):
                hidden = network.look(images[image : image + 1], boxes[None])[0]
            else:
                maps = network.maps(images[image : image + 1])
                hidden = network.box_head(network.regions(maps, boxes[None], 7))
            scores = network.score(hidden)
            offsets = network.offset(hidden).view(len(boxes), 3, 4)
            overlaps = pairwise_iou(boxes, truth.xyxy[image, :2])
            for place in range(len(boxes)):
                best, thing = overlaps[place].max(0)
                label = int(truth.labels[image, thing])
                is_thing = bool(best >= 0.5)
                share = -F.log_softmax(scores[place], 0)[label + 1 if is_thing else 0]
                wanted["classes"] += float(share) / len(boxes) / 2
                if is_thing and "boxes" in wanted:
                    target = encode_boxes(truth.xyxy[image, thing], boxes[place], (10.0, 10.0, 5.0, 5.0))
                    loss = F.smooth_l1_loss(offsets[place, label], target, reduction="sum")
                    wanted["boxes"] += float(loss) / len(boxes) / 2
    assert {key: float(value) for key, value in losses.items()} == pytest.approx(wanted, rel=1e-4)


def test_a_crop_is_the_box_in_a_frame_of_its_surroundings() -> None:
    """A box of 227 - 32 pixels in a crop of 227 needs no scaling: all of its pixels are there, and 16 around it."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 300, 320, generator=generator)
    box = torch.tensor([[[50.0, 40.0, 245.0, 235.0]], [[60.0, 41.0, 255.0, 236.0]]])
    crops = warp(images, box, 227)
    assert pytest.approx(16 / 227) == CONTEXT
    for image, (left, top) in enumerate(((34, 24), (44, 25))):
        torch.testing.assert_close(
            crops[image], images[image, :, top : top + 227, left : left + 227], atol=1e-4, rtol=0
        )
    # Beyond the image there is nothing; a wide box becomes as high as it is wide.
    (beyond,) = warp(images[:1] + 1, torch.tensor([[[0.0, 0.0, 195.0, 195.0]]]), 227)
    assert not beyond[:, :15].any()
    assert not beyond[:, :, :15].any()
    # Between pixels it is linear: of a ramp, each crop's columns and rows are where they were sampled.
    down, across = torch.meshgrid(torch.arange(300.0), torch.arange(320.0), indexing="ij")
    (wide,) = warp(torch.stack([across, down])[None], torch.tensor([[[60.0, 100.0, 260.0, 150.0]]]), 61)
    for channel, (middle, extent) in enumerate(((160, 200), (125, 50))):
        steps = (torch.arange(61) - 30) / 61 * extent / (1 - 32 / 227) + middle - 0.5
        ramp = steps.expand(61, 61) if channel == 0 else steps[:, None].expand(61, 61)
        torch.testing.assert_close(wide[channel], ramp, atol=1e-2, rtol=0)


def test_boxes_are_regressed_as_ridge_regression_does() -> None:
    generator = np.random.default_rng(0)
    rows = generator.random((60, 7)).astype(np.float32)
    offsets = (rows @ generator.random((7, 4)) + generator.random(4)).astype(np.float32)
    sums = BoxRegression(7)
    for part in (slice(0, 1), slice(1, 40), slice(40, 60)):
        sums.show(rows[part], offsets[part])
    weight, bias = sums.solve(scale=30.0)
    expected = Ridge(alpha=PENALTY).fit(rows.astype(np.float64) * 30, offsets)
    np.testing.assert_allclose(weight, expected.coef_ * 30, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, expected.intercept_, rtol=1e-4, atol=1e-6)
    nothing = BoxRegression(7).solve()
    assert not nothing[0].any()
    assert not nothing[1].any()


def test_hard_negatives_teach_as_all_would() -> None:
    """Most negatives are far away; of those near by none may be lost. All at once is what one SVM would see."""
    generator = np.random.default_rng(1)
    positives = (generator.normal(size=(50, 20)) + 2.5).astype(np.float32)
    near = (generator.normal(size=(300, 20)) + 1.0).astype(np.float32)
    far = (generator.normal(size=(20_000, 20)) - 2.0).astype(np.float32)
    negatives = np.concatenate([near, far])
    generator.shuffle(negatives)
    mined = HardNegatives(positives)
    for part in np.array_split(negatives, 40):
        mined.show(part)
    mined.fit()
    assert mined.shown == len(negatives)
    assert len(mined.negatives) < 3_000
    every = LinearSVC(
        C=1e-3, loss="hinge", intercept_scaling=10, class_weight={1: 2.0}, random_state=0, max_iter=20_000
    )
    every.fit(np.concatenate([positives, negatives]), np.arange(len(negatives) + 50) < 50)
    ours = mined.margins(np.concatenate([positives, negatives]))
    theirs = every.decision_function(np.concatenate([positives, negatives]))
    assert np.corrcoef(ours[:350], theirs[:350])[0, 1] > 0.98
    assert ((ours > 0) == (theirs > 0)).mean() > 0.995


def test_a_class_without_things_or_without_anything_else_has_an_answer() -> None:
    rows = np.ones((5, 3), np.float32)
    none = HardNegatives(rows[:0])
    none.show(rows)
    none.fit()
    assert (none.margins(rows) < -1).all()
    only = HardNegatives(rows)
    only.fit()
    assert (only.margins(rows) > 1).all()


def test_other_classes_leave_what_is_not_learned_by_gradients_so() -> None:
    network = build("rcnn")
    assert isinstance(network, RCNN)
    network.reset_classifier(7)
    assert (network.num_classes, network.offset.out_features) == (7, 28)
    assert not network.offset.weight.requires_grad
    assert not network.offset.weight.any()
    assert network.score.weight.requires_grad


def test_what_proposals_cannot_be_is_refused() -> None:
    for name in ("rcnn", "fast_rcnn"):
        with pytest.raises(UsageError, match=f"search of {name} as fast or quality"):
            build(name, search="slow")
        with pytest.raises(UsageError, match="one proposal or more; received search=fast, proposals=0"):
            build(name, proposals=0)
    with pytest.raises(UsageError, match="head of rcnn as svm or softmax"):
        build("rcnn", head="tree")
    with pytest.raises(UsageError, match="pool of fast_rcnn"):
        build("fast_rcnn", pyramid=True, pool="max")
