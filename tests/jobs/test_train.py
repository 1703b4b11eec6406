"""Whole runs on real digits, small and short."""

import json
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import striate
from photographs import write_folder
from striate.data.keyed import Use, key
from striate.data.source import open_data
from striate.errors import StriateError, UsageError
from striate.jobs.predict import Prediction, predict
from striate.jobs.train import Finished, Started, train
from striate.results import Classes
from striate.training.config import TrainConfig
from striate.training.folder import DataRecord, RunFolder
from striate.training.records import EpochRecord, StepRecord
from striate.zoo import build_network, load_network

QUICK: dict[str, Any] = {
    "data": "digits",
    "model": "mlp",
    "model_kwargs": {"hidden_sizes": [24]},
    "image_size": 8,
    "epochs": 4,
    "opt": "adam",
    "lr": 0.05,
    "sched": "constant",
}


def config(folder: Path, **options: Any) -> TrainConfig:
    return TrainConfig.model_validate({**QUICK, "output": str(folder), **options})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("runs") / "quick"
    return folder, list(train(config(folder)))


def test_says_what_it_begins_every_step_every_epoch_and_how_it_ended(run: tuple[Path, list[Any]]) -> None:
    _, (started, *between, finished) = run
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert sum(isinstance(record, StepRecord) for record in between) == started.steps == 4 * 21
    assert sum(isinstance(record, EpochRecord) for record in between) == finished.epochs == 4
    assert (started.train_images, started.val_images, started.test_images) == (1295, 143, 359)
    assert [layer.parameters for layer in started.layers if layer.parameters] == [65 * 24, 25 * 10]
    assert finished.metrics["accuracy"] > 0.9


def test_the_tested_accuracy_is_that_of_the_best_weights_on_the_test_images(run: tuple[Path, list[Any]]) -> None:
    folder, records = run
    assert records[-1].best_epoch < records[-1].epochs, "the last epoch must not be the best for this test to tell"
    network, weights = load_network(folder)
    _, test = open_data("digits", 0).judged
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (weights.preprocessing.mean, weights.preprocessing.std))
    with torch.no_grad():
        right = network((test.pixels() / 255 - mean) / std).argmax(1).eq(test.labels).double().mean()
    assert records[-1].metrics["accuracy"] == pytest.approx(float(right))


def test_the_folder_holds_what_it_should(run: tuple[Path, list[Any]]) -> None:
    folder, _ = run
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        ".lock",
        "args.yaml",
        "data.json",
        "results.csv",
        "report.html",
        "README.md",
        "summary.json",
        "weights/best/model.safetensors",
        "weights/best/config.json",
        "weights/last/model.safetensors",
        "weights/last/config.json",
        *(f"resume/000004-000000000/{name}" for name in ("network.safetensors", "optimizer.pt", "progress.json")),
    }
    args = yaml.safe_load((folder / "args.yaml").read_text())
    assert args["in_chans"] == 1
    assert "output" not in args
    asked = config(folder).model_copy(update={"in_chans": 1, "output": None})
    assert TrainConfig.model_validate(args) == asked
    assert json.loads((folder / "weights/best/config.json").read_text())["classes"] == list("0123456789")


def test_the_report_is_one_small_page_with_everything_on_it(run: tuple[Path, list[Any]]) -> None:
    folder, records = run
    page = (folder / "report.html").read_text()
    assert len(page) < 2_000_000
    assert f"{records[-1].metrics['accuracy']:.2%}" in page
    assert page.count("<svg") == 3
    mistakes = round((1 - records[-1].metrics["accuracy"]) * 359)
    assert page.count("taken for ") - 1 >= min(mistakes, 24)  # and the axis of the confusion matrix
    assert "(64 + 1)·24" in page
    assert "hidden_sizes" in page


def test_best_weights_rebuild_the_network_for_prediction(run: tuple[Path, list[Any]]) -> None:
    folder, records = run
    _, test = open_data("digits", 0).judged
    predictions = [p for p in striate.predict(folder, ["digits"]) if isinstance(p, Prediction)]
    assert len(predictions) == 359
    assert [p.truth for p in predictions] == [test.classes[label] for label in test.labels]
    right = sum(isinstance(p.result, Classes) and p.truth == p.result.name for p in predictions)
    assert right / 359 == pytest.approx(records[-1].metrics["accuracy"])
    assert len(list(striate.predict(folder, ["digits"], limit=3))) == 3


def test_args_yaml_repeats_the_run_bit_for_bit(run: tuple[Path, list[Any]], tmp_path: Path) -> None:
    folder, _ = run
    args = yaml.safe_load((folder / "args.yaml").read_text())
    list(train(TrainConfig.model_validate(args | {"output": str(tmp_path / "again"), "workers": 1})))
    for which in ("best", "last"):
        name = f"weights/{which}/model.safetensors"
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_finished_run_resumed_is_tested_again_and_no_more(run: tuple[Path, list[Any]], tmp_path: Path) -> None:
    folder, records = run
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    started, finished = train(resume=copy)
    assert isinstance(started, Started)
    assert started.step == started.steps
    assert isinstance(finished, Finished)
    assert finished.metrics == records[-1].metrics


@pytest.fixture
def halted(tmp_path: Path) -> Path:
    """A run of which one epoch is done."""
    folder = tmp_path / "halted"
    for record in train(config(folder)):
        if isinstance(record, EpochRecord):
            break
    return folder


def test_resume_refuses_other_settings_and_says_which(halted: Path) -> None:
    with pytest.raises(UsageError, match="epochs 4 -> 9, lr 0.05 -> 0.5"):
        next(train(config(halted, lr=0.5, epochs=9), resume=halted))
    assert isinstance(next(train(config(halted, workers=1), resume=halted)), Started)


def test_resume_refuses_another_thread_count(halted: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.raises(
            UsageError, match=f"the run's own threads: {threads}; received {threads + 1}. .*OMP_NUM_THREADS"
        ):
            next(train(resume=halted))
    finally:
        torch.set_num_threads(threads)


def write_idx(folder: Path) -> None:
    """Write the digits as MNIST-style files."""
    splits = open_data("digits", 0)
    folder.mkdir()
    for part, images in (("train", splits.train), ("t10k", splits.judged[1])):
        pixels, labels = images.pixels()[:, 0].numpy(), images.labels.byte().numpy()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, *pixels.shape) + pixels.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, len(labels)) + labels.tobytes())


def test_resume_refuses_changed_data_and_a_changed_network(tmp_path: Path) -> None:
    data, folder = tmp_path / "idx", tmp_path / "run"
    write_idx(data)
    next(train(config(folder, data=str(data), epochs=1)))  # the first checkpoint comes with the first step
    for record in train(resume=folder):
        if isinstance(record, StepRecord):
            break
    labels = data / "t10k-labels-idx1-ubyte"
    kept = labels.read_bytes()
    labels.write_bytes(kept[:-1] + bytes([(kept[-1] + 1) % 10]))
    with pytest.raises(UsageError, match="the run's own data: .*images or labels differ"):
        next(train(resume=folder))
    labels.write_bytes(kept)
    args = (folder / "args.yaml").read_text()
    (folder / "args.yaml").write_text(args.replace("opt: adam", "opt: nadam"))
    with pytest.raises(UsageError, match="opt adam -> nadam"):
        next(train(resume=folder))
    (folder / "args.yaml").write_text(args)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn, "ReLU", lambda inplace: torch.nn.PReLU())  # another version of the network
        with pytest.raises(UsageError, match="the run's own network: "):
            next(train(resume=folder))
    moved = tmp_path / "moved"
    data.rename(moved)
    assert isinstance(next(train(config(folder, data=str(moved), epochs=1), resume=folder)), Started)
    *_, finished = train(resume=folder)  # It knows by now.
    assert isinstance(finished, Finished)


def test_two_processes_do_not_train_in_one_folder(halted: Path) -> None:
    with RunFolder(halted).locked(), pytest.raises(UsageError, match="another process is training there"):
        next(train(resume=halted))


def test_a_taken_output_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds something already. Choose another --output"):
        next(train(config(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_in_which_a_run_died_before_it_began_can_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".args.yaml.new").write_text("da")
    assert isinstance(next(train(config(folder))), Started)


def test_of_two_runs_that_want_one_output_the_second_changes_nothing(tmp_path: Path) -> None:
    first, second = train(config(tmp_path / "run", seed=1)), train(config(tmp_path / "run", seed=2))
    assert isinstance(next(first), Started)
    with pytest.raises(UsageError):
        next(second)
    assert yaml.safe_load((tmp_path / "run" / "args.yaml").read_text())["seed"] == 1


def test_a_folder_taken_between_the_check_and_the_lock_is_left_as_it_is(halted: Path) -> None:
    before = (halted / "args.yaml").read_text()
    with pytest.raises(UsageError, match="holds something already"):
        RunFolder(halted).begin(config(halted, seed=9), DataRecord(fingerprint=""))
    assert (halted / "args.yaml").read_text() == before


def test_unnamed_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        next(train(TrainConfig.model_validate(QUICK)))
    assert sorted(path.name for path in (tmp_path / "runs" / "classify").iterdir()) == [
        "digits-mlp",
        "digits-mlp-2",
        "digits-mlp-3",
    ]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"model": "lenet5", "image_size": 12, "model_kwargs": {}}, "at least 16x16 for LeNet-5"),
        ({"model_kwargs": {"hidden": [3]}}, "Did you mean hidden_sizes"),
        ({"model_kwargs": {"hidden_sizes": "many"}}, "whole numbers"),
        ({"model_kwargs": {"hidden_sizes": 300}}, "values that mlp takes"),
        ({"model_kwargs": {"drop_rate": 2}}, "values that mlp takes.*between 0 and 1"),
        ({"device": "cuda"}, "a CUDA device"),
        ({"data": "numbers"}, "'numbers', which is neither"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(
    tmp_path: Path, options: dict[str, Any], complaint: str
) -> None:
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(UsageError, match=complaint):
        next(train(config(tmp_path / "run", **options)))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="received neither"):
        next(train())


def test_a_network_of_another_kind_is_not_filled_with_these_weights(
    run: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    shutil.copytree(run[0] / "weights" / "best", tmp_path / "w")
    path = tmp_path / "w" / "config.json"
    path.write_text(path.read_text().replace("24", "23"))
    with pytest.raises(StriateError, match=re.escape("classifier.1.weight (24, 64), not (23, 64)")):
        load_network(tmp_path / "w")
    path.write_text("{")
    with pytest.raises(StriateError, match=r"what striate\.save_weights writes to"):
        load_network(tmp_path / "w")
    with pytest.raises(UsageError, match=r"a folder with config\.json and model\.safetensors"):
        load_network(tmp_path)


def test_the_tests_loss_is_the_trained_one_and_its_report_shows_images_of_any_channels(tmp_path: Path) -> None:
    *_, last, finished = train(config(tmp_path / "run", loss="mse", in_chans=5, lr=0.01))
    assert isinstance(last, EpochRecord)
    assert isinstance(finished, Finished)
    assert finished.metrics["loss"] < 0.1  # minus the logarithm would be several times as much
    assert abs(finished.metrics["loss"] - last.metrics["loss"]) < 0.05


@pytest.mark.parametrize(("init", "loss"), [("he", "cross_entropy"), ("xavier", "mse")])
def test_every_initialisation_and_loss_learns(tmp_path: Path, init: str, loss: str) -> None:
    *_, finished = train(config(tmp_path / "run", init=init, loss=loss, lr=0.01, epochs=3, smoothing=0.05))
    assert isinstance(finished, Finished)
    assert finished.metrics["accuracy"] > 0.85


def test_auxiliary_heads_are_trained_saved_and_not_asked_at_prediction(tmp_path: Path) -> None:
    data = str(write_folder(tmp_path / "data", {"": 5}))
    options = {"model": "googlenet_bn", "image_size": 32, "model_kwargs": {"aux_heads": True}, "epochs": 1}
    *_, finished = train(config(tmp_path / "run", data=data, **options, lr=0.01))
    assert isinstance(finished, Finished)
    network, weights = load_network(tmp_path / "run")
    assert weights.model_options == {"aux_heads": True}
    torch.manual_seed(key(0, Use.WEIGHTS))
    fresh = build_network(weights).state_dict()
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, fresh[name])}
    assert {"aux1.fc2.weight", "aux2.conv.conv.weight", "features.conv1.conv.weight"} <= moved
    (prediction, *_) = predict(tmp_path / "run", data, limit=1)
    assert isinstance(prediction, Prediction)
    assert isinstance(prediction.result, Classes)
    assert prediction.result.names == ("blue", "green", "red")


def test_a_compiler_that_is_not_there_is_missed_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"a C\+\+ compiler, for --compile: no-such-compiler"):
        next(train(config(tmp_path / "run", compile=True)))
    assert not (tmp_path / "run").exists()
