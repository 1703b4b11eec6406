"""Networks that find things, from images with boxes to pages: trained within a budget, resumed, judged, drawn."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from boxed_scenes import COLOURS, SIZE, draw_things, write_coco, write_instances, write_voc
from striate.boxes import pairwise_iou
from striate.detection.found import packed
from striate.errors import InterruptedRunError, UsageError
from striate.files import load_tensors, save_tensors
from striate.jobs.detections import DetectedThings, Looking, detect_images
from striate.jobs.judging_boxes import JudgedBoxes
from striate.jobs.predict import Skipped, predict
from striate.jobs.questions import check_map
from striate.jobs.train import Finished, Started, train
from striate.jobs.usage import check_export
from striate.jobs.val import Validated, val, write_val_page
from striate.training.config import load_config
from striate.training.folder import RunFolder
from striate.training.records import EpochRecord, PeakRecord, StepRecord
from striate.training.transfer import rate_scales
from striate.zoo import create_model, load_network

Program = Callable[..., Any]
COMMON: dict[str, Any] = {
    "task": "detect",
    "image_size": "40x52",
    "batch_size": 4,
    "opt": "adamw",
    "lr": 0.003,
    "clip_grad": 10.0,
}
SMALL = {"pyramid": True, "hidden": 32, "channels": 16}


class Run(NamedTuple):
    data: Path
    folder: Path
    records: list[Any]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on boxes of Pascal VOC, within a budget that takes recomputation."""
    root = tmp_path_factory.mktemp("boxes")
    data = write_voc(root / "data", {"train": 16, "val": 3, "test": 4})
    settings = {"model_kwargs": SMALL, "epochs": 2, "memory": "50MB", "lossless": True, "hflip": 0.5}
    config = load_config(COMMON, settings, {"data": str(data), "output": str(root / "run")})
    return Run(data, root / "run", list(train(config)))


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on pictures that number things, long enough to find some."""
    root = tmp_path_factory.mktemp("masks")
    data = write_instances(root / "data", {"train": 32, "val": 3, "test": 4})
    small = {"backbone": "resnet18", "hidden": 64, "channels": 16}
    settings = {"model": "mask_rcnn", "model_kwargs": small, "epochs": 8, "lr": 0.001, "image_size": "80x104"}
    config = load_config(COMMON, settings, {"data": str(data), "output": str(root / "run")})
    return Run(data, root / "run", list(train(config)))


def test_it_learns_within_its_budget_and_the_peak_is_as_predicted(boxes: Run) -> None:
    started = next(record for record in boxes.records if isinstance(record, Started))
    epochs = [record for record in boxes.records if isinstance(record, EpochRecord)]
    assert started.model == "faster_rcnn"
    assert started.classes == tuple(sorted(COLOURS))
    assert started.plan is not None
    assert started.plan.recompute
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert set(epochs[0].metrics) == {"ap", "ap50", "ap75"}
    peaks = {record.phase: record for record in boxes.records if isinstance(record, PeakRecord)}
    training, validation = peaks["training"], peaks["validation"]
    assert training.measured == pytest.approx(training.predicted, rel=0.01)
    assert training.measured <= training.budget
    assert validation.measured <= validation.predicted <= validation.budget


@pytest.mark.slow
@pytest.mark.parametrize(("model", "small"), [("yolo", {"channels": 16, "grid": [3, 4]}), ("yolov3", {"channels": 8})])
def test_networks_that_look_once_learn_within_their_budget_and_find_again(
    boxes: Run, model: str, small: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"model": model, "model_kwargs": small, "epochs": 1, "memory": "400MB"}
    records = list(train(load_config(COMMON, settings, {"data": str(boxes.data), "output": str(tmp_path / "run")})))
    started = next(record for record in records if isinstance(record, Started))
    assert started.plan is not None
    (training,) = (each for each in records if isinstance(each, PeakRecord) and each.phase == "training")
    assert training.measured == pytest.approx(training.predicted, rel=0.01)
    assert training.measured <= training.budget
    network, _ = load_network(tmp_path / "run")
    own = create_model(model, num_classes=2, image_size=(40, 52), **small)
    assert network.state_dict().keys() == own.state_dict().keys()
    if model == "yolov3":
        assert not network.state_dict()["anchors"].equal(own.state_dict()["anchors"])
    images = str(boxes.data / "JPEGImages")
    found = list(detect_images(tmp_path / "run", images, output=tmp_path / "out", limit=2, score=0.0))
    assert len([record for record in found if isinstance(record, DetectedThings)]) == 2


def test_a_run_that_is_cut_off_ends_with_the_same_bits(boxes: Run, tmp_path: Path) -> None:
    """As a run that nobody stopped, and that was within a budget: recomputation changes no bit."""
    settings = {"model_kwargs": SMALL, "epochs": 2, "hflip": 0.5}
    config = load_config(COMMON, settings, {"data": str(boxes.data), "output": str(tmp_path / "cut")})
    with pytest.raises(InterruptedRunError):
        for record in train(config):
            if isinstance(record, StepRecord) and record.step == 5:
                os.kill(os.getpid(), signal.SIGTERM)
    list(train(resume=tmp_path / "cut"))
    one, other = (load_tensors(RunFolder(each).last / "model.safetensors") for each in (boxes.folder, tmp_path / "cut"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(name.startswith("anchors.") for name in one)


def found_by_hand(run: Run, seed: int) -> list[tuple[str, float, list[float]]]:
    """Run the network on one picture, with nothing of the program but the network; the boxes are in its pixels."""
    network, config = load_network(run.folder)
    mean, std = (np.array(each).reshape(3, 1, 1) for each in (config.preprocessing.mean, config.preprocessing.std))
    height, width = config.image_size
    picture = Image.fromarray(draw_things(seed)[0]).resize((width, height), Image.Resampling.BILINEAR)
    levels = (np.asarray(picture).transpose(2, 0, 1) / 255 - mean) / std
    with torch.inference_mode():
        (rows,) = packed(network(torch.from_numpy(levels).float().unsqueeze(0)))
    scale = SIZE[0] / height
    return [
        (config.classes[int(row[5])], float(row[4]), (row[:4] * scale).tolist())
        for row in rows
        if row[6] > 0 and row[4] >= 0.3
    ]


def test_what_is_found_is_what_the_network_says(masks: Run, tmp_path: Path) -> None:
    finished = masks.records[-1]
    assert isinstance(finished, Finished)
    assert finished.metrics["ap50"] > 0.3
    assert {"ap", "ap50", "ap75", "voc_ap50", "mask_ap", "mask_ap50"} == set(finished.metrics)
    images = masks.data / "test" / "PNGImages"
    records = list(detect_images(masks.folder, str(images), output=tmp_path / "out", score=0.3))
    looked = [record for record in records if isinstance(record, Looking)]
    assert [(each.done, each.total) for each in looked] == [(4, 4)]
    for record in (record for record in records if isinstance(record, DetectedThings)):
        seed = int(Path(record.source).stem)
        expected = found_by_hand(masks, seed)
        things = record.things
        assert [things.names[label] for label in things.labels] == [name for name, _, _ in expected]
        assert things.scores.tolist() == pytest.approx([score for _, score, _ in expected], abs=1e-3)
        np.testing.assert_allclose(things.boxes_xyxy, [box for _, _, box in expected], atol=0.05)
        with Image.open(record.picture) as drawn:
            assert drawn.size == (SIZE[1] * 10, SIZE[0] * 10)  # Small pictures are enlarged, to be read.
        true = torch.tensor([thing.xyxy for thing in draw_things(seed)[1]], dtype=torch.float32)
        assert things.masks is not None
        for place, box in enumerate(torch.from_numpy(things.boxes_xyxy)):
            if things.scores[place] > 0.9 and float(pairwise_iou(box[None], true).max()) > 0.7:
                left, top, right, bottom = true[int(pairwise_iou(box[None], true)[0].argmax())].int().tolist()
                whole = np.zeros(SIZE, bool)
                whole[top:bottom, left:right] = True
                said = things.mask(place)
                assert (said & whole).sum() / (said | whole).sum() > 0.6


def test_figures_are_counted_in_the_images_own_pixels(masks: Run, tmp_path: Path) -> None:
    """Images that are as large already as the network sees them have the same boxes, but for their size."""
    doubled = tmp_path / "doubled"
    for kind in ("PNGImages", "ThingMasks"):
        (doubled / kind).mkdir(parents=True)
        for path in sorted((masks.data / "test" / kind).iterdir()):
            with Image.open(path) as picture:
                size = picture.width * 2, picture.height * 2
                method = Image.Resampling.BILINEAR if kind == "PNGImages" else Image.Resampling.NEAREST
                picture.resize(size, method).save(doubled / kind / path.name)
    own, other = (
        next(record for record in val(masks.folder, data) if isinstance(record, Validated))
        for data in (None, str(doubled))
    )
    assert isinstance(own.judged, JudgedBoxes)
    assert isinstance(other.judged, JudgedBoxes)
    finished = masks.records[-1]
    assert own.judged.metrics == pytest.approx(dict(finished.metrics), abs=1e-6)
    for name in ("ap", "ap50", "voc_ap50"):
        assert other.judged.metrics[name] == pytest.approx(own.judged.metrics[name], abs=1e-6)
    assert other.judged.metrics["mask_ap50"] == pytest.approx(own.judged.metrics["mask_ap50"], abs=0.1)
    assert other.judged.shown[0].image_size == (2 * SIZE[0], 2 * SIZE[1])
    things = sum(len(draw_things(2000 + place)[1]) for place in range(4))
    assert [each.things for each in own.judged.classes] == [things]
    write_val_page(tmp_path / "val.html", "run", own)
    page = (tmp_path / "val.html").read_text(encoding="utf-8")
    assert "AP of masks" in page
    assert page.count("missed or wrong</figcaption>") == 4
    report = RunFolder(masks.folder).report.read_text(encoding="utf-8")
    assert "Precision by recall" in report
    assert "<figure>" in report


@pytest.mark.slow
def test_drawn_shapes_are_judged_and_shown_at_another_size_than_they_were_made_in(tmp_path: Path) -> None:
    """The embedded set is in memory, scaled for the network; with weights of batch norm frozen, all else learning."""
    small = SMALL | {"stem_stride": 4}
    asked = {"data": "shapes", "model_kwargs": small, "epochs": 1, "image_size": "64x80", "batch_size": 64}
    more = {"average": "swa", "average_start": 0.0, "in_chans": 3, "amp": True}
    *_, finished = train(load_config(COMMON, asked, more, {"output": str(tmp_path / "run")}))
    assert isinstance(finished, Finished)
    assert "96 test images" in finished.report.read_text(encoding="utf-8")
    records = list(detect_images(tmp_path / "run", "shapes", output=tmp_path / "out", limit=2, score=0.0))
    assert [each.things.image_size for each in records if isinstance(each, DetectedThings)] == [(96, 96)] * 2


def test_images_without_boxes_and_grey_ones_are_learned_from(tmp_path: Path) -> None:
    data = write_voc(tmp_path / "data", {"train": 8, "val": 2, "test": 2})
    for path in sorted((data / "Annotations").iterdir())[:4]:
        path.write_text(re.sub(r"<object>.*</object>", "", path.read_text()))
    for path in (data / "JPEGImages").iterdir():
        with Image.open(path) as picture:
            picture.convert("L").save(path)
    asked = {"data": str(data), "model_kwargs": SMALL, "epochs": 1, "freeze_epochs": 0, "dtype": "bfloat16"}
    *_, finished = train(load_config(COMMON, asked, {"output": str(tmp_path / "run")}))
    assert isinstance(finished, Finished)
    _, config = load_network(tmp_path / "run")
    assert config.in_chans == 1


def test_the_first_epochs_are_of_all_but_the_backbone(boxes: Run, tmp_path: Path) -> None:
    weights = tmp_path / "backbone.safetensors"
    save_tensors(weights, create_model("mobilenet_v2").state_dict())
    asked = {"data": str(boxes.data), "model_kwargs": SMALL, "epochs": 1, "freeze_epochs": 1, "layer_decay": 0.5}
    *_, finished = train(load_config(COMMON, asked, {"pretrained": str(weights), "output": str(tmp_path / "run")}))
    assert isinstance(finished, Finished)
    before, after = load_tensors(weights), load_tensors(RunFolder(tmp_path / "run").last / "model.safetensors")
    learned = {name.partition(".")[0] for name in after if name not in before}
    assert learned >= {"pyramid", "rpn", "box_head", "score", "offset"}
    assert all(torch.equal(after[name], before[name]) for name in after if name in before)
    network, _ = load_network(tmp_path / "run")
    scales = rate_scales(network, network.head_layers(), 0.5)
    own = [scales[parameter] for name, parameter in network.named_parameters() if not name.startswith("features.")]
    assert set(own) == {1.0}
    assert max(scales[parameter] for parameter in network.features.parameters()) == 0.5


def test_other_data_is_judged_by_the_classes_that_were_learned(boxes: Run, tmp_path: Path) -> None:
    data = write_coco(tmp_path / "coco", {"test": 3})
    found = list(val(boxes.folder, str(data)))[-1]
    assert isinstance(found, Validated)
    assert isinstance(found.judged, JudgedBoxes)
    assert (len(found.judged.images), found.seen) == (3, 0)
    things = [thing.name for place in range(3) for thing in draw_things(2000 + place)[1]]
    assert {each.name: each.things for each in found.judged.classes} == {name: things.count(name) for name in COLOURS}


def test_the_program_says_draws_and_judges(masks: Run, program: Program, tmp_path: Path) -> None:
    images = str(masks.data / "test" / "PNGImages")
    done = program("predict", str(masks.folder), images, "--limit", "2", "--score", "0.3", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert re.search(r"2000\.png  \d things?: out/2000-things\.png", done.stdout)
    assert re.search(r"  object \d+%  at \d+, \d+, \d+, \d+", done.stdout)
    document = json.loads(program("predict", str(masks.folder), images, "--score", "0.3", "--json").stdout)
    first = document["predictions"][0]
    assert first["image_size"] == list(SIZE)
    thing = first["things"][0]
    assert set(thing) == {"class", "score", "box_xyxy", "mask"}
    from faster_coco_eval.core import mask

    pixels = mask.decode({"size": thing["mask"]["size"], "counts": thing["mask"]["counts"].encode()})
    assert pixels.shape == SIZE
    left, top, right, bottom = thing["box_xyxy"]
    rows, columns = pixels.nonzero()
    assert rows.min() >= int(top)
    assert columns.min() >= int(left)
    assert rows.max() < bottom
    assert columns.max() < right
    judged = program("val", str(masks.folder))
    assert "AP of masks" in judged.stdout
    assert json.loads(program("val", str(masks.folder), "--json").stdout)["classes"][0]["name"] == "object"
    listed = program("runs", str(masks.folder.parent))
    assert "%" in listed.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--draw",), "no --draw for a network that finds things, at the size of its training received --draw"),
        (("--memory", "1GB"), "received --memory"),
        (("--image-size", "64"), "received --image-size"),
    ],
)
def test_flags_of_others_are_refused(masks: Run, program: Program, words: tuple[str, ...], said: str) -> None:
    images = str(masks.data / "test" / "PNGImages")
    done = program("predict", str(masks.folder), images, *words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_what_cannot_be_asked_is_refused(masks: Run, boxes: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which says boxes around things. Of such a network.*detect_images"):
        list(predict(masks.folder, str(masks.data)))
    with pytest.raises(UsageError, match="faster_rcnn, which says boxes around things. What drops boxes"):
        check_export(boxes.folder, [])
    with pytest.raises(UsageError, match="tells classes of whole images; received mask_rcnn"):
        check_map(masks.folder, [str(masks.data)])
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    with pytest.raises(UsageError, match="bad.png"):
        list(detect_images(boxes.folder, str(bad), output=tmp_path))
    (skipped, _) = detect_images(boxes.folder, str(bad), output=tmp_path, skip_bad=True)
    assert isinstance(skipped, Skipped)
    with pytest.raises(UsageError, match="a score from 0 to 1; received 2"):
        list(detect_images(boxes.folder, str(bad), score=2.0))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mixup": 0.2}, "no --mixup with faster_rcnn, which learns boxes around things"),
        ({"rotate": 10.0}, "no --rotate with faster_rcnn"),
        ({"crop_pct": 0.9}, "no --crop-pct with faster_rcnn"),
        ({"monitor": "loss"}, "no --monitor loss with faster_rcnn"),
        ({"probe": True, "pretrained": "x"}, "no --probe with faster_rcnn"),
        ({"model": "resnet18"}, "a network for finding things, with --task detect; received resnet18"),
        ({"model_kwargs": {"pyramid": True, "pool": "max"}}, "pool of faster_rcnn as align"),
    ],
)
def test_settings_of_others_are_refused(boxes: Run, settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    asked = {"data": str(boxes.data), "output": str(tmp_path / "none")}
    with pytest.raises(UsageError, match=said):
        list(train(load_config(COMMON, asked, settings)))


def test_masks_want_outlines(boxes: Run, tmp_path: Path) -> None:
    asked = {"data": str(boxes.data), "model": "mask_rcnn", "output": str(tmp_path / "none")}
    with pytest.raises(UsageError, match="an outline of each thing"):
        list(train(load_config(COMMON, asked)))
