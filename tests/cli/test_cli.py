"""The command line as a user meets it: another process, its output, its errors and its exit status."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Done
from striate.cli.main import app
from striate.data.source import open_data
from striate.files import load_tensors, save_tensors
from striate.training.config import TrainConfig

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Program = Callable[..., Done]
QUICK = ("train", "digits", "--model", "mlp", "--image-size", "8", "--opt", "adam", "--lr", "0.01")


def document(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_train_prints_its_network_its_course_and_its_end(striate: Run, tmp_path: Path) -> None:
    done = striate("train", "digits", "--recipe", "lenet5-digits", "--epochs", "2", "--output", "run")
    assert done.returncode == 0, done.stderr
    for part in ("(5·5·1 + 1)·6 = 156", "(5·5·6 + 1)·16 = 2,416", "(400 + 1)·120 = 48,120", "61,706 parameters"):
        assert part in done.stdout
    assert "6x28x28" in done.stdout
    assert "epoch 2/2" in done.stderr
    assert "test accuracy" in done.stdout
    assert (tmp_path / "run" / "report.html").exists()


def test_train_and_predict_give_json(program: Program, tmp_path: Path) -> None:
    done = program(*QUICK, "--epochs", "6", "--output", "run", "--json")
    assert "epoch 6/6" in done.stderr
    told = document(done)
    assert told["parameters"] == sum(layer["parameters"] for layer in told["layers"]) == 65 * 300 + 301 * 10
    assert [row["epoch"] for row in told["epochs"]] == [1, 2, 3, 4, 5, 6]
    assert told["test"]["accuracy"] > 0.9
    predicted = document(program("predict", "run", "digits", "--limit", "5", "--json"))["predictions"]
    assert len(predicted) == 5
    _, test = open_data("digits", 0).judged
    for place in range(2):
        pixels = test.pixels()[place, 0].numpy()
        Image.fromarray(pixels).save(tmp_path / f"{place}.png")
        Image.fromarray(np.stack([pixels] * 3, axis=2)).save(tmp_path / f"colour-{place}.png")
    files = ("0.png", "1.png", "colour-0.png", "colour-1.png")
    of_files = document(program("predict", "run", *files, "--json"))["predictions"]
    assert [p["source"] for p in of_files] == list(files)
    for file, known in zip(of_files, predicted[:2] * 2, strict=True):
        assert [share["class"] for share in file["top"]] == [share["class"] for share in known["top"]]
        shares = [share["probability"] for share in known["top"]]
        assert [share["probability"] for share in file["top"]] == pytest.approx(shares, rel=1e-4)
    assert [p["truth"] for p in predicted[:2]] == [test.classes[label] for label in test.labels[:2]]


def test_models_lists_the_zoo(program: Program) -> None:
    assert "61,706" in program("models").stdout
    assert [entry["name"] for entry in document(program("models", "lenet*", "--json"))["models"]] == [
        "lenet5",
        "lenet5_28",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "digits", "--model", "lenet6"), "Did you mean lenet5"),
        (("train", "digits"), "--model"),
        (("train", "digits", "--model", "lenet5", "--image-size", "15"), "--image-size 16 or more"),
        (("train", "digits", "--model", "lenet5", "--epochs", "0"), "0 leaves it at --probe"),
        (("train", "digits", "--model", "lenet5", "--modle", "x"), "--model"),
        (("train", "digits", "--model", "lenet5", "--opt", "sdg"), "momentum"),
        (("train", "digits", "--model", "lenet5", "--model-kwargs", "hidden"), "KEY=VALUE"),
        (("train", "digits", "-c", "nowhere.yaml"), "nowhere.yaml"),
        (("train", "nowhere", "--model", "lenet5"), "digits"),
        (("train", "--resume", "nowhere"), "args.yaml"),
        (("predict", "nowhere", "a.png"), "striate train"),
        (("models", "zzz"), "Known: lenet5"),
        (("frobnicate",), "frobnicate"),
        ((), "train"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_use_is_status_2_with_a_way_out_and_no_traceback(
    program: Program, arguments: tuple[str, ...], said: str
) -> None:
    done = program(*arguments)
    assert done.returncode == 2
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_models_lists_sizes_multiply_adds_papers_and_weights_at_hand(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tensors(tmp_path / "resnet18-f37072fd.safetensors", {"w": torch.zeros(11_689_512, dtype=torch.uint8)})
    monkeypatch.setenv("STRIATE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    rows = program("models", "resnet*").stdout.splitlines()
    assert [row.split()[0] for row in rows[1:-2]] == ["resnet101", "resnet152", "resnet18", "resnet34", "resnet50"]
    (row,) = (row for row in rows if row.startswith("resnet18"))
    assert rows[-1] == f"Weights at hand in {tmp_path}: resnet18-f37072fd.safetensors."
    for cell in ("11,689,512", "1.81 G", "3x224x224", "at hand", "He et al. 2016"):
        assert cell in row
    told = document(program("models", "resnet18", "--json"))["models"][0]
    assert told["macs"] == 1_814_073_344
    assert told["weights"] == [str(tmp_path / "resnet18-f37072fd.safetensors")]
    assert f"in {tmp_path}: none." in program("models", "vgg*").stdout


def test_debug_shows_the_traceback(striate: Run) -> None:
    done = striate("--debug", "models", "zzz")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_failed_job_is_status_1(program: Program, tmp_path: Path) -> None:
    done = program(*QUICK[:-4], "--opt", "sgd", "--lr", "1e30", "--sched", "constant", "--output", "run")
    assert done.returncode == 1
    assert "Try a lower --lr" in done.stderr
    assert "Traceback" not in done.stderr
    kept = load_tensors(tmp_path / "run" / "weights" / "last" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_ctrl_c_before_anything_has_begun_ends_the_program_without_a_word() -> None:
    script = (
        "import os, signal, sys\n"
        "from striate.__main__ import main\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy.linalg': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.argv = ['striate', 'train', 'digits', '--model', 'lenet5']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("workers", [pytest.param("0", marks=pytest.mark.slow), "2"])
def test_sigterm_to_the_whole_group_saves_and_the_run_goes_on(program: Program, tmp_path: Path, workers: str) -> None:
    options = ("--epochs", "6", "--batch-size", "16", "--workers", workers)
    command = [sys.executable, "-m", "striate", *QUICK, *options, "--output", "run"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    results = tmp_path / "run" / "results.csv"
    for _ in range(600):
        if results.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "SIGTERM after step" in err
    assert "striate train --resume run" in err
    assert "Traceback" not in err
    resumed = program("train", "--resume", "run")
    assert resumed.returncode == 0, resumed.stderr
    assert "goes on after step" in resumed.stdout
    assert len(results.read_text().splitlines()) == 7
    refused = program("train", "--resume", "run", "--lr", "0.5")
    assert refused.returncode == 2
    assert "lr 0.01 -> 0.5" in refused.stderr


def test_a_file_of_flags_is_overridden_by_flags(program: Program, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("data: digits\nmodel: mlp\nepochs: 9\nimage_size: 8\n")
    told = document(program("train", "-c", "mine.yaml", "--epochs", "1", "--json"))
    assert len(told["epochs"]) == 1
    assert told["run"] == "runs/classify/digits-mlp"
    (tmp_path / "wrong.yaml").write_text("data: digits\nmodle: mlp\n")
    done = program("train", "-c", "wrong.yaml")
    assert done.returncode == 2
    assert "Did you mean model" in done.stderr


def test_every_key_of_the_config_is_a_flag() -> None:
    import typer

    command = typer.main.get_command(app)
    train = command.commands["train"]  # type: ignore[attr-defined]
    names = {parameter.name for parameter in train.params}
    assert set(TrainConfig.model_fields) <= names
    short = {spelling for parameter in train.params for spelling in parameter.opts}
    assert {"-b", "-j", "-c", "--batch-size", "--no-channels-last"} - short == {"--no-channels-last"}
    assert "--no-channels-last" in {s for parameter in train.params for s in parameter.secondary_opts}


@pytest.mark.slow
def test_compiled_steps_learn_what_others_learn(
    striate: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """In processes of their own: what checks types in the tests cannot be compiled."""
    losses = []
    for flag in ("--compile", "--no-compile"):
        done = striate("train", "digits", "--model", "lenet5", "--epochs", "2", flag, "--output", f"run{flag}")
        assert done.returncode == 0, done.stderr
        with (tmp_path / f"run{flag}" / "results.csv").open() as file:
            losses.append([float(row["train_loss"]) for row in csv.DictReader(file)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] != losses[1]  # Other kernels add in another order.
