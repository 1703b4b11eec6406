"""Two processes that train one network, started as a user starts them."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import Done
from striate.files import load_tensors
from striate.training.folder import RunFolder

# By momentum, to which gradients twice as large are others; to Adam they are not.
RUN = ("train", "digits", "--model", "lenet5", "--batch-size", "101", "--lr", "0.05", "--seed", "3")


def start(folder: Path, *arguments: str, processes: int = 2) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "-m", "striate"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    )


def finish(process: "subprocess.Popen[str]") -> str:
    out, _ = process.communicate(timeout=200)
    return out


def rows(folder: Path) -> list[dict[str, float]]:
    with RunFolder(folder).results.open() as file:
        kept = ("epoch", "step", "lr", "train_loss", "val_loss", "val_accuracy")
        return [{name: float(row[name]) for name in kept} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("processes")
    process = start(folder, *RUN, "--epochs", "4", "--memory", "8MB", "--lossless", "--output", "two")
    out = finish(process)
    assert process.returncode == 0, out
    return folder, out


def test_two_processes_learn_what_one_learns(undisturbed: tuple[Path, str], program: Callable[..., Done]) -> None:
    """Batches of 99 and 100 images: the halves differ, and so do the two shares of 143 and of 359."""
    folder, out = undisturbed
    said = program(*RUN, "--epochs", "4", "--output", str(folder / "one")).stdout
    for ours, theirs in zip(rows(folder / "two"), rows(folder / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    tested = [re.search(r"test accuracy (\S+)%", text) for text in (out, said)]
    assert tested[0] is not None
    assert tested[1] is not None
    assert tested[0][1] == tested[1][1]
    assert out.count("61,706 parameters") == 1  # The first process alone tells.
    measured = re.search(r"peak of training: predicted .*?\((\S+) .*? measured .*?\((\S+) ", out)
    assert measured is not None
    assert float(measured[2]) == pytest.approx(float(measured[1]), rel=0.01)
    assert "on each of 2 devices" in out


@pytest.mark.slow
def test_batch_norms_are_judged_as_those_that_are_kept(tmp_path: Path, program: Callable[..., Done]) -> None:
    """Each process has statistics of its own images; the first one's are saved."""
    asked = ("train", "digits", "--model", "strided_cnn_28", "--image-size", "17", "--batch-size", "40", "--lr", "0.02")
    process = start(tmp_path, *asked, "--epochs", "1", "--output", "normed")
    out = finish(process)
    assert process.returncode == 0, out
    judged = json.loads(program("val", str(tmp_path / "normed"), "--split", "val", "--json").stdout)
    (row,) = rows(tmp_path / "normed")
    assert row["val_loss"] == pytest.approx(judged["metrics"]["cross_entropy"], rel=1e-4)


@pytest.mark.slow
def test_a_run_of_which_one_process_is_killed_ends_with_a_word_and_goes_on(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    process = start(
        folder, *RUN, "--epochs", "4", "--memory", "8MB", "--lossless", "--output", "cut", "--checkpoint-seconds", "0"
    )
    deadline = time.monotonic() + 100
    while not list((folder / "cut" / "resume").glob("00000[1-3]-00000000[3-9]")) and time.monotonic() < deadline:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    out = finish(process)
    assert process.returncode != 0
    assert "expected all 2 processes of this run" in out
    assert "go on with: torchrun --nproc-per-node 2 -m striate train --resume RUN" in out
    assert len(rows(folder / "cut") if RunFolder(folder / "cut").results.exists() else []) < 4
    fewer = start(folder, "train", "--resume", "cut", processes=1)
    assert "torchrun --nproc-per-node 2 starts" in finish(fewer)
    again = start(folder, "train", "--resume", "cut")
    out = finish(again)
    assert again.returncode == 0, out
    whole, cut = (load_tensors(RunFolder(folder / name).last / "model.safetensors") for name in ("two", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_what_the_user_did_wrong_is_said_once(tmp_path: Path) -> None:
    out = finish(start(tmp_path, "train", "digits", "--model", "lenet6"))
    assert out.count("striate: expected a network of the zoo") == 1
