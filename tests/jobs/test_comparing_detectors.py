"""Networks that find things beside each other: trained once, timed part by part, told in a table and on a page."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from boxed_scenes import write_voc
from striate.cli.main import app
from striate.errors import UsageError
from striate.jobs.comparing_detectors import ComparedDetectors, Split, _timed, compare_detectors, planned_runs
from striate.jobs.train import Started
from striate.training.folder import RunFolder
from striate.zoo import create_model

ONLY = ("fast_rcnn", "faster_rcnn")
SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 2,
    "image_size": "40x52",
    "model_kwargs": {"channels": 8, "hidden": 16},
}


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRIATE_PROPOSALS", str(tmp_path_factory.mktemp("proposals")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared")
    write_voc(root / "data", {"train": 4, "val": 2, "test": 3})
    return root


@pytest.fixture(scope="module")
def compared(root: Path) -> list[Any]:
    return list(compare_detectors(str(root / "data"), ONLY, SETTINGS, root / "runs", images=2))


@pytest.mark.slow
def test_each_is_trained_and_judged_as_its_run_says(root: Path, compared: list[Any]) -> None:
    found = compared[-1]
    assert isinstance(found, ComparedDetectors)
    assert (found.tested, found.backbone) == (3, "mobilenet_v2")
    assert [each.model for each in found.worth] == list(ONLY)
    for each in found.worth:
        summary = RunFolder(root / "runs" / each.model).read_summary()
        assert summary is not None
        assert (each.ap, each.ap50) == (summary.metrics["ap"], summary.metrics["ap50"])
        assert each.training == summary.peaks["training"]
        assert each.predicting > 4 * each.parameters
        assert min(each.seconds) > 0
    fast, faster = found.worth
    assert fast.disk > 0
    assert faster.disk == 0
    assert fast.trained > fast.seconds.proposals * 9  # All images are searched.


@pytest.mark.slow
def test_what_is_trained_stays_so_and_is_told(root: Path, compared: list[Any]) -> None:
    assert sum(isinstance(record, Started) for record in compared) == 2
    again = list(compare_detectors(str(root / "data"), ONLY, SETTINGS, root / "runs", images=1))
    assert not any(isinstance(record, Started) for record in again)
    with pytest.raises(UsageError, match="received epochs 2 -> 3"):
        list(compare_detectors(str(root / "data"), ONLY, {**SETTINGS, "epochs": 3}, root / "runs"))
    (root / "settings.yaml").write_text(json.dumps(SETTINGS))
    words = ["compare", "detectors", "--data", str(root / "data"), "--only", "fast_rcnn", "--images", "1"]
    words += ["-c", str(root / "settings.yaml"), "--output", str(root / "runs"), "--html", str(root / "page.html")]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "fast_rcnn" in said.stdout
    page = (root / "page.html").read_text()
    assert "Where the time of an image goes" in page
    assert "R-CNN 47 s an image" in page
    document = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert set(document["worth"][0]["seconds"]) == {"proposals", "features", "heads"}


def test_the_time_of_each_part_is_its_own() -> None:
    """Parts that sleep: what the stopwatch says is what they slept."""

    class Sleeping(nn.Module):
        def __init__(self, seconds: float, module: nn.Module) -> None:
            super().__init__()
            self.seconds, self.module = seconds, module

        def forward(self, *inputs: Any) -> Any:
            time.sleep(self.seconds)
            return self.module(*inputs)

    network: Any = create_model("faster_rcnn", backbone="resnet18", num_classes=2, hidden=8).eval()
    network.rpn = Sleeping(0.4, network.rpn)
    network.features.stage2 = Sleeping(0.7, network.features.stage2)
    network.box_head = Sleeping(1.1, network.box_head)
    split = _timed(network, [torch.zeros(1, 3, 40, 52)], 0.2)
    assert split.proposals >= 0.6
    assert split.features >= 0.7
    assert split.heads >= 1.1
    assert split.total == pytest.approx(split.proposals + split.features + split.heads)
    assert split._fields == Split._fields == ("proposals", "features", "heads")


def test_what_cannot_be_compared_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="detectors to compare; received fastrcnn. Did you mean fast_rcnn"):
        planned_runs("data", ["fastrcnn"])
    runs = planned_runs(
        str(root / "data"), ["rcnn", "yolov3"], {"model_kwargs": {"side": 48, "channels": 32}, "seed": 3}
    )
    assert [run.config.model_kwargs for run in runs] == [{"proposals": 500, "side": 48}, {"channels": 32}]
    assert runs[1].config.seed == 3
    with pytest.raises(UsageError, match="received 'sides'"):
        planned_runs(str(root / "data"), ["rcnn"], {"model_kwargs": {"sides": 48}})
    with pytest.raises(UsageError, match="received model, which each has of its own"):
        planned_runs(str(root / "data"), [], {"model": "yolo"})


@pytest.mark.slow
def test_runs_of_other_images_are_no_part_of_it(root: Path, compared: list[Any]) -> None:
    other = write_voc(root / "other", {"train": 4, "val": 2, "test": 2})
    with pytest.raises(UsageError, match="received one with other images. Give another --output"):
        list(compare_detectors(str(other), ONLY, SETTINGS, root / "runs"))
