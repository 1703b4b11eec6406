"""Runs that begin with other weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from photographs import write_folder
from servers import Served, serving
from striate.data.preprocessing import Preprocessing
from striate.errors import StriateError, UsageError
from striate.files import load_tensors, save_tensors
from striate.jobs.train import Finished, Started, train
from striate.pretrained import open_pretrained
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.records import EpochRecord, PeakRecord, ProbeRecord
from striate.weights import WeightsConfig, read_weights_config, save_weights
from striate.zoo import create_model

CLASSES = tuple("0123456789")
LOOK = Preprocessing(image_size=(32, 32), mean=(0.4,), std=(0.3,), crop_pct=0.9, interpolation="bicubic")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of LeNet-5 for four other classes."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(5)
    network = create_model("lenet5", num_classes=4)
    save_weights(folder, network.state_dict(), WeightsConfig(model="lenet5", classes=tuple("abcd"), preprocessing=LOOK))
    return folder


def run(output: Path, base: Path | str | None, **options: Any) -> list[Any]:
    values = {
        "data": "digits",
        "model": "lenet5",
        "pretrained": base and str(base),
        "epochs": 1,
        "batch_size": 128,
        **options,
    }
    return list(train(TrainConfig.model_validate({**values, "output": str(output)})))


def tensors(folder: Path) -> dict[str, Tensor]:
    return load_tensors(folder / "model.safetensors")


def is_head(name: str) -> bool:
    return name.startswith("classifier.output.")


def test_only_the_head_learns_at_first_and_preprocessing_comes_with_the_weights(tmp_path: Path, base: Path) -> None:
    started, *_ = run(tmp_path / "run", base, freeze_epochs=1)
    assert any("classifier.output afresh" in note for note in started.notes)
    before, after = tensors(base), tensors(RunFolder(tmp_path / "run").last)
    assert all(torch.equal(before[name], after[name]) for name in before if not is_head(name))
    assert after["classifier.output.weight"].shape == (10, 84)
    config = read_weights_config(RunFolder(tmp_path / "run").last)
    assert config.preprocessing == LOOK
    assert config.origin == str(base)
    run(tmp_path / "thawed", base, freeze_epochs=1, epochs=2, mean=0.5, crop_pct=1.0)
    after = tensors(RunFolder(tmp_path / "thawed").last)
    assert not any(torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))
    look = read_weights_config(RunFolder(tmp_path / "thawed").last).preprocessing
    assert look == LOOK.model_copy(update={"mean": (0.5,), "crop_pct": 1.0})


def test_weights_for_the_very_same_classes_are_taken_whole(tmp_path: Path, base: Path) -> None:
    run(tmp_path / "one", base, lr=1e-9)
    started, *_ = run(tmp_path / "two", tmp_path / "one", lr=1e-9)
    assert f"begins with {tmp_path / 'one'}" in started.notes
    one, two = (tensors(RunFolder(tmp_path / name).best)["classifier.output.weight"] for name in ("one", "two"))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


def test_a_run_goes_on_without_the_weights_that_it_began_with(tmp_path: Path, base: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    save_tensors(copy, tensors(base))
    options = {"freeze_epochs": 1, "epochs": 3, "mean": 0.4, "std": 0.3, "in_chans": 1}
    run(tmp_path / "whole", copy, **options)
    config = TrainConfig.model_validate(
        {"data": "digits", "model": "lenet5", "pretrained": str(copy), "batch_size": 128, **options}
        | {"output": str(tmp_path / "cut")}
    )
    steps = train(config)
    while not isinstance(next(steps), EpochRecord):
        pass
    steps.close()
    copy.unlink()
    *_, finished = train(resume=tmp_path / "cut")
    assert isinstance(finished, Finished)
    whole, cut = (tensors(RunFolder(tmp_path / name).last) for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_probe_alone_is_a_run_and_one_that_was_killed_goes_on(tmp_path: Path, base: Path) -> None:
    started, *between, finished = run(tmp_path / "run", base, probe=True, epochs=0)
    assert isinstance(started, Started)
    assert started.steps == 0
    features = [record for record in between if isinstance(record, ProbeRecord)]
    assert max(record.total for record in features) == started.train_images
    (epoch,) = (record for record in between if isinstance(record, EpochRecord))
    assert (epoch.epoch, finished.best_epoch, finished.epochs) == (0, 0, 0)
    assert finished.metrics["accuracy"] > 0.8  # Random convolutions do as much for digits.
    before, after = tensors(base), tensors(RunFolder(tmp_path / "run").best)
    assert all(torch.equal(before[name], after[name]) for name in before if not is_head(name))
    assert not RunFolder(tmp_path / "run").probe.exists()

    steps = train(
        TrainConfig.model_validate(
            {"data": "digits", "model": "lenet5", "pretrained": str(base), "probe": True, "epochs": 1}
            | {"batch_size": 128, "output": str(tmp_path / "cut")}
        )
    )
    seen = 0
    for record in steps:
        seen += isinstance(record, ProbeRecord)
        if seen == 3:
            break
    steps.close()
    rest = list(train(resume=tmp_path / "cut"))
    assert sum(isinstance(record, ProbeRecord) for record in rest) == len(features) - 3
    assert [record.epoch for record in rest if isinstance(record, EpochRecord)] == [0, 1]
    again = [record for record in train(resume=tmp_path / "cut") if isinstance(record, ProbeRecord | EpochRecord)]
    assert again == []


def test_features_of_other_images_are_not_taken(tmp_path: Path) -> None:
    save_weights(
        tmp_path / "base",
        create_model("lenet5", num_classes=4, in_chans=3).state_dict(),
        WeightsConfig(
            model="lenet5",
            classes=tuple("abcd"),
            preprocessing=LOOK.model_copy(update={"mean": (0.5,) * 3, "std": (0.5,) * 3}),
        ),
    )
    data = write_folder(tmp_path / "data", {"": 10})
    options = {"data": str(data), "probe": True, "epochs": 0, "batch_size": 4}
    config = {"model": "lenet5", "pretrained": str(tmp_path / "base"), "output": str(tmp_path / "run"), **options}
    steps = train(TrainConfig.model_validate(config))
    while not isinstance(next(steps), ProbeRecord):
        pass
    steps.close()
    first = next((data / "red").iterdir())
    first.write_bytes(next((data / "blue").iterdir()).read_bytes())
    with pytest.raises(UsageError, match="The images or labels differ"):
        list(train(resume=tmp_path / "run"))


def test_a_file_of_weights_brings_what_lies_beside_it(tmp_path: Path, base: Path) -> None:
    beside = open_pretrained(base / "model.safetensors", "lenet5")
    assert beside.preprocessing == LOOK
    look = {"input_size": [3, 64, 64], "mean": [0.1] * 3, "std": [0.5] * 3, "crop_pct": 0.95}
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "config.json").write_text(
        json.dumps({"pretrained_cfg": {**look, "interpolation": "bilinear"}})
    )
    (tmp_path / "timm" / "model.safetensors").touch()
    theirs = open_pretrained(tmp_path / "timm", "resnet18")
    assert theirs.preprocessing is not None
    assert theirs.preprocessing.image_size == (64, 64)
    save_tensors(tmp_path / "grey.safetensors", tensors(base))
    run(tmp_path / "run", tmp_path / "grey.safetensors", probe=True, epochs=0)  # Grey, so nothing is usual: measured.
    assert read_weights_config(RunFolder(tmp_path / "run").best).preprocessing.mean != (0.485, 0.456, 0.406)


def test_a_frozen_stage_keeps_to_the_budget(tmp_path: Path, base: Path) -> None:
    started, *between, finished = run(tmp_path / "run", base, freeze_epochs=1, epochs=2, memory="6MB", probe=True)
    peaks = {record.phase: record for record in between if isinstance(record, PeakRecord)}
    assert set(peaks) == {"training", "validation"}
    assert all(peak.measured <= peak.budget for peak in peaks.values())
    assert abs(peaks["training"].measured / started.plan.peak_bytes - 1) < 0.01
    assert isinstance(finished, Finished)


def test_folded_batch_norm_stays_as_it_is_unless_it_is_asked_to_learn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create_model("resnet18", num_classes=4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.bias.data.uniform_(-0.1, 0.1)
    save_tensors(tmp_path / "folded.safetensors", network.state_dict())
    data = write_folder(tmp_path / "data", {"": 8})
    options = {"data": str(data), "model": "resnet18", "image_size": 32, "mean": 0.5, "std": 0.5, "lr": 1e-4}
    records = run(tmp_path / "held", tmp_path / "folded.safetensors", **options)
    started = next(record for record in records if isinstance(record, Started))
    assert any("batch norm is folded" in note for note in started.notes)
    run(tmp_path / "free", tmp_path / "folded.safetensors", frozen_norm=False, **options)
    for name, held in (("held", True), ("free", False)):
        folder = RunFolder(tmp_path / name).last
        assert read_weights_config(folder).frozen_norm is held
        assert bool((tensors(folder)["features.stem.norm.running_mean"] == 0).all()) is held


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The hub on loopback, with ResNet-18 under timm's names."""
    import huggingface_hub.constants as constants
    from huggingface_hub import close_session

    network = create_model("resnet18", num_classes=4)
    theirs = {
        "features.stem.conv.": "conv1.",
        "features.stem.norm.": "bn1.",
        "classifier.output.": "fc.",
    }
    state = {}
    for name, tensor in network.state_dict().items():
        for ours, name_there in theirs.items():
            name = name.replace(ours, name_there)
        state[name] = tensor
    save_tensors(tmp_path / "model.safetensors", state)
    look = {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "crop_pct": 0.95}
    published = {"pretrained_cfg": {**look, "interpolation": "bicubic", "license": "bsd-3-clause"}}
    files = {
        "config.json": json.dumps(published).encode(),
        "model.safetensors": (tmp_path / "model.safetensors").read_bytes(),
    }
    monkeypatch.setenv("STRIATE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(Served(files)) as served:
        template = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        close_session()
        yield served
    close_session()


def test_the_hubs_weights_come_with_their_preprocessing_and_licence(hub: Served, tmp_path: Path) -> None:
    data = str(write_folder(tmp_path / "data", {"": 8}))
    run(tmp_path / "run", "hub", data=data, model="resnet18", probe=True, epochs=0)
    config = read_weights_config(RunFolder(tmp_path / "run").best)
    assert config.preprocessing == Preprocessing(
        image_size=(64, 64), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), crop_pct=0.95, interpolation="bicubic"
    )
    assert (config.origin, config.licence) == ("timm/resnet18.tv_in1k@aaaaaaaaaaaa", "bsd-3-clause")
    asked = len(hub.asked)
    create_model("resnet18", num_classes=4, pretrained="hub")
    assert len(hub.asked) == asked  # From the cache.


def test_what_the_hub_does_not_have_is_said_with_where_to_put_it(hub: Served, tmp_path: Path) -> None:
    hub.files = {}
    folder = tmp_path / "weights" / "resnet18.tv_in1k"
    with pytest.raises(StriateError, match=f"fetch model.safetensors and config.json .*put both into {folder}"):
        create_model("resnet18", pretrained="hub")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes())
    (folder / "config.json").write_text("{}")
    with pytest.raises(StriateError, match=f"timm's description of the weights in {folder}"):
        create_model("resnet18", pretrained="hub")
    with pytest.raises(UsageError, match=r"whose weights are on the hub; received lenet5"):
        create_model("lenet5", pretrained="hub")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pretrained": None, "probe": True}, "--pretrained with --probe"),
        ({"pretrained": None, "freeze_epochs": 1}, "--pretrained with --freeze-epochs"),
        ({"init": "he"}, "either --pretrained or --init"),
        ({"mean": "0.1,0.2"}, "--mean as one number, or one for each of 1 channels"),
        ({"model": "lenet5_28"}, "weights of lenet5_28; received those of lenet5"),
        (
            {"pretrained": "nowhere.safetensors"},
            "--pretrained as .*; received 'nowhere.safetensors', which is not there",
        ),
        ({"mean": 2.0}, "--mean: .*less than or equal to 1"),
        ({"std": 0.0}, "--std: .*greater than 0"),
        ({"model": "squeezenet1_0", "probe": True, "image_size": 64, "pretrained": None}, "--pretrained with --probe"),
        ({"in_chans": 3}, "images of 1 channels, as the weights take them"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, base: Path, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(StriateError, match=complaint):
        run(tmp_path / "run", base, **options)
    assert not (tmp_path / "run").exists()
