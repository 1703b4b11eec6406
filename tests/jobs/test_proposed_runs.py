"""Networks that are shown proposals, from images with boxes to pages: searched, trained in stages, resumed, judged."""

import json
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from boxed_scenes import COLOURS, write_voc
from striate.errors import InterruptedRunError
from striate.files import load_tensors
from striate.jobs.detections import DetectedThings, detect_images
from striate.jobs.judging_boxes import JudgedBoxes
from striate.jobs.proposing import Searching
from striate.jobs.stages import Featuring, Mining
from striate.jobs.train import Finished, Started, train
from striate.jobs.val import Validated, val
from striate.training.config import load_config
from striate.training.folder import RunFolder
from striate.training.records import EpochRecord, PeakRecord

COMMON: dict[str, Any] = {
    "task": "detect",
    "image_size": "40x52",
    "batch_size": 4,
    "opt": "adamw",
    "lr": 0.001,
    "clip_grad": 10.0,
    "epochs": 2,
    "hflip": 0.5,
}
SHOWN = {"proposals": 60, "hidden": 32}
KINDS: dict[str, dict[str, Any]] = {
    "fast_rcnn": {**SHOWN, "pyramid": True, "channels": 16},
    "rcnn": {**SHOWN, "side": 32},
}


class Run(NamedTuple):
    data: Path
    folder: Path
    records: list[Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voc(tmp_path_factory.mktemp("data") / "data", {"train": 12, "val": 3, "test": 4})


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder for proposals of these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRIATE_PROPOSALS", str(tmp_path_factory.mktemp("proposals")))
        yield


@pytest.fixture(scope="module", params=["fast_rcnn", pytest.param("rcnn", marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run") / "run"
    settings = {"model": request.param, "model_kwargs": KINDS[request.param], "memory": "400MB"}
    if request.param == "fast_rcnn":
        settings["in_chans"] = 1  # What is searched is in colour all the same.
    records = list(train(load_config(COMMON, settings, {"data": str(data), "output": str(folder)})))
    return Run(data, folder, records)


def test_it_is_searched_then_learns_within_its_budget_with_the_predicted_peak(run: Run) -> None:
    searched = [record for record in run.records if isinstance(record, Searching)]
    assert [max(r.done for r in searched if r.total == total) for total in (12, 3, 4)] == [12, 3, 4]
    started = next(record for record in run.records if isinstance(record, Started))
    assert run.records.index(searched[-1]) < run.records.index(started)
    epochs = [record for record in run.records if isinstance(record, EpochRecord)]
    assert epochs[-1].train_loss < epochs[0].train_loss
    peaks = {record.phase: record for record in run.records if isinstance(record, PeakRecord)}
    assert peaks["training"].measured == pytest.approx(peaks["training"].predicted, rel=0.01)
    assert peaks["training"].measured <= peaks["training"].budget
    assert peaks["validation"].measured <= peaks["validation"].predicted
    report = (run.folder / "report.html").read_text()
    assert "Things that lie in proposals of the test images" in report
    assert ("The last stages" in report) == (started.model == "rcnn")
    stages = {type(record) for record in run.records} & {Featuring, Mining}
    assert stages == ({Featuring, Mining} if started.model == "rcnn" else set())


def test_what_it_finds_in_files_is_what_validation_judges(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("striate.jobs.judging_boxes.SURE", 0.0)  # All that is found is shown then.
    (found,) = (record for record in val(run.folder) if isinstance(record, Validated))
    assert isinstance(found.judged, JudgedBoxes)
    finished = next(record for record in run.records if isinstance(record, Finished))
    assert found.judged.metrics == pytest.approx(
        {name: finished.metrics[name] for name in found.judged.metrics}, abs=1e-6
    )
    paths = [run.data / "JPEGImages" / f"{seed}.png" for seed in range(2000, 2004)]
    things = [
        record.things
        for record in detect_images(run.folder, paths, output=tmp_path, score=0.0)
        if isinstance(record, DetectedThings)
    ]
    assert len(things) == 4
    assert sum(len(shown) for shown in found.judged.shown.values()) > 0
    for place, shown in found.judged.shown.items():
        np.testing.assert_allclose(things[place].scores, shown.scores, atol=1e-4)
        np.testing.assert_allclose(things[place].boxes_xyxy, shown.boxes_xyxy, atol=1e-2)


@pytest.mark.parametrize("when", [pytest.param(Featuring, marks=pytest.mark.slow), Mining])
def test_stages_that_are_cut_off_come_to_the_same(data: Path, tmp_path: Path, when: type[Any]) -> None:
    settings = {"model": "rcnn", "model_kwargs": KINDS["rcnn"], "data": str(data), "epochs": 1}
    whole = load_config(COMMON, settings, {"output": str(tmp_path / "whole")})
    list(train(whole))
    cut = load_config(COMMON, settings, {"output": str(tmp_path / "cut"), "features": "5kB"})
    with pytest.raises(InterruptedRunError, match="3 of 12 images; everything is saved"):
        for record in train(cut):
            if isinstance(record, when) and record.done == 3:
                os.kill(os.getpid(), signal.SIGINT)
    list(train(resume=tmp_path / "cut"))
    one, other = (load_tensors(RunFolder(tmp_path / name).best / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert one["offset.weight"].any()
    assert not one["score.weight"][0].any()
    assert not RunFolder(tmp_path / "cut").features.exists()
    stages = json.loads((tmp_path / "cut" / "stages.json").read_text())
    assert [each["name"] for each in stages["classes"]] == sorted(COLOURS)
