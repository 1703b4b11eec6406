"""Networks for pixels, from a folder of images and masks to pages: trained within a budget, judged, shown."""

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from scenes import draw_scene, write_scenes
from striate.data.names import MaskOptions
from striate.data.reading import Reading
from striate.errors import UsageError
from striate.jobs.check import Checked, check, write_check_page
from striate.jobs.judging_masks import JudgedMasks
from striate.jobs.runs import cells_of, find_runs
from striate.jobs.train import Finished, Started, train
from striate.jobs.usage import check_training
from striate.jobs.val import Validated, val, write_val_page
from striate.training.config import load_config
from striate.training.records import EpochRecord, PeakRecord
from striate.zoo import load_network

SIZE = (40, 52)
UNKNOWN_COLUMNS = 3


class Run(NamedTuple):
    data: Path
    folder: Path
    records: list[Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("scenes")
    data = write_scenes(root / "data", {"train": 12, "val": 3, "test": 4}, UNKNOWN_COLUMNS)
    (data / "classes.txt").write_text("ground 90 90 90\nred 200 40 40\nblue 40 40 200", encoding="utf-8")
    asked = {"task": "segment", "data": str(data), "image_size": "40x52", "batch_size": 6, "epochs": 3}
    settings = {"opt": "adamw", "lr": 0.003, "memory": "60MB", "lossless": True, "balance": "loss", "hflip": 0.5}
    config = load_config(asked, settings, {"output": str(root / "run")})
    return Run(data, root / "run", list(train(config)))


def by_hand(run: Run) -> dict[str, Any]:
    """Judge the run's network on its test images, with nothing of the program but the network."""
    network, config = load_network(run.folder)
    mean, std = (np.array(each).reshape(3, 1, 1) for each in (config.preprocessing.mean, config.preprocessing.std))
    both, either, right, known_pixels = np.zeros(3), np.zeros(3), 0, 0
    for seed in range(2000, 2004):
        picture, truth = draw_scene(seed)
        levels = (picture.transpose(2, 0, 1) / 255 - mean) / std
        with torch.inference_mode():
            said = network(torch.from_numpy(levels).float().unsqueeze(0))[0].argmax(0).numpy()
        known = np.zeros(SIZE, bool)
        known[:, UNKNOWN_COLUMNS:] = True
        for number in range(3):
            both[number] += ((said == number) & (truth == number) & known).sum()
            either[number] += (((said == number) | (truth == number)) & known).sum()
        right += int(((said == truth) & known).sum())
        known_pixels += int(known.sum())
    return {"ious": both / either, "pixel_accuracy": right / known_pixels}


def test_it_learns_within_its_budget_and_the_peak_is_as_predicted(run: Run) -> None:
    started = next(record for record in run.records if isinstance(record, Started))
    epochs = [record for record in run.records if isinstance(record, EpochRecord)]
    assert started.model == "fcn8s"
    assert started.classes == ("ground", "red", "blue")
    assert started.plan is not None
    assert started.plan.recompute
    assert epochs[-1].train_loss < 0.8 * epochs[0].train_loss
    assert set(epochs[0].metrics) == {"loss", "pixel_accuracy", "mean_iou", "trimap_iou"}
    peaks = {record.phase: record for record in run.records if isinstance(record, PeakRecord)}
    training, validation = peaks["training"], peaks["validation"]
    assert training.measured == pytest.approx(training.predicted, rel=0.01)
    assert validation.measured <= validation.predicted <= 60_000_000


def test_figures_are_those_made_by_hand(run: Run) -> None:
    expected = by_hand(run)
    finished = run.records[-1]
    assert isinstance(finished, Finished)
    assert finished.part == "test"
    found = list(val(run.folder))[-1]
    assert isinstance(found, Validated)
    judged = found.judged
    assert isinstance(judged, JudgedMasks)
    assert [each.iou for each in judged.classes] == pytest.approx(list(expected["ious"]), abs=1e-9)
    for metrics in (finished.metrics, judged.metrics):
        assert metrics["mean_iou"] == pytest.approx(expected["ious"].mean(), abs=1e-6)
        assert metrics["pixel_accuracy"] == pytest.approx(expected["pixel_accuracy"], abs=1e-6)
    other = list(val(run.folder, str(run.data), split="val"))[-1]
    assert isinstance(other, Validated)
    assert (other.part, len(other.judged.images), other.seen) == ("val", 3, 0)


def test_other_images_are_judged_by_their_own_names_or_by_the_numbers_that_were_learned(
    run: Run, tmp_path: Path
) -> None:
    data = write_scenes(tmp_path / "others", {"": 2})
    alone = tmp_path / "weights"
    shutil.copytree(run.folder / "weights" / "best", alone)
    learned = [list(val(folder, str(data)))[-1] for folder in (run.folder, alone)]
    (data / "classes.txt").write_text("ground\nblue\nred", encoding="utf-8")  # Others than they are.
    exchanged = list(val(alone, str(data)))[-1]
    for found in (*learned, exchanged):
        assert isinstance(found, Validated)
        assert len(found.judged.images) == 2
        assert isinstance(found.judged, JudgedMasks)
        assert found.judged.colours == ((90, 90, 90), (200, 40, 40), (40, 40, 200))
        pixels = [each.pixels for each in found.judged.classes]
        masks = [draw_scene(seed)[1] for seed in range(2)]
        order = (0, 2, 1) if found is exchanged else (0, 1, 2)
        assert pixels == [sum(int((mask == number).sum()) for mask in masks) for number in order]
    (data / "classes.txt").write_text("ground\nred\ngreen", encoding="utf-8")
    with pytest.raises(UsageError, match="green besides"):
        list(val(run.folder, str(data)))


def test_a_run_whose_file_of_classes_has_gone_is_judged_and_goes_on(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", {"train": 6, "val": 2})
    names = tmp_path / "names.txt"
    names.write_text("ground\nred\nblue", encoding="utf-8")
    asked = {"task": "segment", "data": str(data), "classes": str(names), "image_size": "32x32", "epochs": 1}
    list(train(load_config(asked, {"output": str(tmp_path / "run")})))
    names.unlink()
    found = list(val(tmp_path / "run"))[-1]
    assert isinstance(found, Validated)
    assert found.judged.images.classes == ("ground", "red", "blue")
    *_, finished = train(resume=tmp_path / "run")
    assert isinstance(finished, Finished)


def test_pages_show_masks_beside_the_true_ones(run: Run, tmp_path: Path) -> None:
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    judged = list(val(run.folder))[-1]
    assert isinstance(judged, Validated)
    assert isinstance(judged.judged, JudgedMasks)
    assert len(judged.judged.pictures) == 4
    for picture in judged.judged.pictures:
        shown, truth = draw_scene(2000 + picture.place)
        truth[:, :UNKNOWN_COLUMNS] = 255
        assert np.array_equal(picture.image, shown)
        assert np.array_equal(picture.truth, truth)
    write_val_page(tmp_path / "val.html", "run", judged)
    for text in (report, (tmp_path / "val.html").read_text(encoding="utf-8")):
        assert len(re.findall(r"<figcaption>[^<]*mean IoU \d+\.\d\d%</figcaption>", text)) == 4
        for name, each in zip(("ground", "red", "blue"), judged.judged.classes, strict=True):
            assert f"<td>{name}</td>" in text
            assert f"{each.iou:.2%}" in text


def test_a_run_is_listed_by_its_overlap_and_says_how_to_use_it(run: Run) -> None:
    (found,) = find_runs([run.folder]).runs
    finished = run.records[-1]
    assert f"test {finished.metrics['mean_iou']:.2%}" in cells_of(found)
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert f"striate predict {run.folder} IMAGE... --image-size 40" in card
    config = json.loads((run.folder / "weights" / "best" / "config.json").read_text(encoding="utf-8"))
    assert (config["task"], config["colours"][1]) == ("segment", [200, 40, 40])


def test_images_with_masks_are_checked_and_shown(run: Run, tmp_path: Path) -> None:
    found = list(check(str(run.data), Reading(masks=MaskOptions())))[-1]
    assert isinstance(found, Checked)
    assert found.severe == 0
    for number, name in enumerate(("ground", "red", "blue")):
        masks = [draw_scene(seed)[1][:, UNKNOWN_COLUMNS:] for seed in range(12)]
        assert found.counts["train", name] == sum(int((mask == number).sum()) for mask in masks)
    write_check_page(tmp_path / "check.html", found, 10_000_000)
    assert (tmp_path / "check.html").read_text(encoding="utf-8").count("<figure>") == 12 + 3 + 4


@pytest.mark.parametrize(
    ("asked", "received"),
    [
        ({"task": "segment", "model": "lenet5"}, "lenet5"),
        ({"task": "classify", "model": "fcn8s"}, "fcn8s"),
        ({"model": "lenet5", "classes": "classes.txt"}, "it for whole images"),
        ({"task": "segment", "classes": "nowhere.txt"}, "'nowhere.txt', which is none"),
        ({"model": "lenet5", "ignore": "3"}, "it for whole images"),
        ({"model": "fcn8s", "mixup": 0.2}, "it"),
        ({"model": "fcn8s", "smoothing": 0.1}, "it"),
        ({"model": "fcn8s", "loss": "mse"}, "it"),
        ({"model": "fcn8s", "balance": "sampling"}, "it"),
        ({"model": "fcn8s", "probe": True, "pretrained": "hub"}, "it"),
        ({"model": "lenet5", "loss": "dice"}, "it"),
    ],
)
def test_what_does_not_go_together_is_refused(asked: dict[str, Any], received: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_training(load_config(asked, {"data": "digits"}))
    assert received in caught.value.received


def test_classes_of_images_and_masks_are_not_taken_for_each_other(run: Run) -> None:
    with pytest.raises(UsageError, match="--task segment"):
        list(train(load_config({"data": str(run.data), "model": "lenet5"})))
    with pytest.raises(UsageError, match="one class each"):
        list(train(load_config({"data": "digits", "task": "segment"})))
