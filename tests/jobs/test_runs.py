import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import Done
from striate.errors import UsageError
from striate.files import load_tensors
from striate.jobs.runs import differing, find_runs
from striate.jobs.train import train
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.records import EpochRecord

Program = Callable[..., Done]
QUICK = {"data": "digits", "model": "mlp", "image_size": 8, "opt": "adam", "lr": 0.01, "batch_size": 128}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that ended, one that did not, and one that is damaged."""
    root = tmp_path_factory.mktemp("runs")

    def config(name: str, **options: Any) -> TrainConfig:
        return TrainConfig.model_validate({**QUICK, **options, "output": str(root / "classify" / name)})

    for _ in train(config("long", epochs=4, memory="20MB", lossless=True)):
        pass
    for _ in train(config("short", epochs=1)):
        pass
    for record in train(config("broken-off", epochs=3, seed=1)):
        if isinstance(record, EpochRecord):
            break
    (root / "edited").mkdir()
    (root / "edited" / "args.yaml").write_text((root / "classify" / "short" / "args.yaml").read_text())
    (root / "edited" / "results.csv").write_text("epoch,step\n1\n")
    (root / "damaged").mkdir()
    (root / "damaged" / "args.yaml").write_text("model: [")
    return root


def test_runs_are_listed_with_the_best_first(runs: Path, program: Program) -> None:
    found = find_runs([runs])
    assert [run.path.name for run in found.runs[:1]] == ["long"]
    assert {run.path.name for run in found.runs} == {"long", "short", "broken-off"}
    values = [run.best for run in found.runs]
    known = [value for value in values if value is not None]
    assert values == known == sorted(known, reverse=True)
    best = found.runs[0]
    assert best.summary is not None
    assert best.plan is not None
    assert best.peak == best.summary.peaks["training"] > 0
    assert [path.name for path, _ in found.damaged] == ["damaged", "edited"]
    broken = next(run for run in found.runs if run.path.name == "broken-off")
    assert (broken.summary, len(broken.rows), broken.peak) == (None, 1, None)
    assert differing(found.runs) == {
        "epochs": [str(run.config.epochs) for run in found.runs],
        "memory": ["20MB" if run.path.name == "long" else "-" for run in found.runs],
        "lossless": ["on" if run.path.name == "long" else "off" for run in found.runs],
        "seed": [str(int(run.path.name == "broken-off")) for run in found.runs],
    }
    done = program("runs", str(runs), "--html", "page.html")
    assert done.returncode == 0, done.stderr
    assert "1/3" in done.stdout
    assert all(str(run.path) in done.stdout for run in found.runs), "a path that can be copied"
    assert "not readable" in done.stdout
    page = Path("page.html").read_text()
    for part in ("Validation accuracy by epoch", "What was asked differently", "lossless", "broken-off"):
        assert part in page
    told = json.loads(program("runs", str(runs), "--json").stdout)
    assert [run["best"] for run in told["runs"]] == values
    assert told["runs"][0]["summary"]["metrics"]["accuracy"] > 0.9


def test_no_runs_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"runs in .*; received none"):
        find_runs([tmp_path])
    with pytest.raises(UsageError, match="a folder with runs in it"):
        find_runs([tmp_path / "nowhere"])


def test_the_card_says_what_was_trained_and_its_command_repeats_it_bit_for_bit(runs: Path, program: Program) -> None:
    folder = RunFolder(runs / "classify" / "short")
    card = folder.card.read_text()
    summary = folder.read_summary()
    assert summary is not None
    for part in (
        f"accuracy {summary.metrics['accuracy']:.2%}",
        "1,295 train, 143 val, 359 test",
        "10: 0, 1, 2",
        f"torch {torch.__version__}",
        "| seed | 0 |",
        "| licence | nobody says",
        "| begun with | fresh weights |",
    ):
        assert part in card
    command = next(line.strip() for line in card.splitlines() if line.startswith("    striate train"))
    assert program(*shlex.split(command)[1:], "--output", "again").returncode == 0
    assert program("train", "-c", str(folder.args), "--output", "by-file").returncode == 0
    weights = load_tensors(folder.last / "model.safetensors")
    for name in ("again", "by-file"):
        repeated = load_tensors(RunFolder(Path(name)).last / "model.safetensors")
        assert all(torch.equal(weights[tensor], repeated[tensor]) for tensor in weights)


def test_a_run_of_a_fit_alone_is_listed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.args.write_text(TrainConfig.model_validate(QUICK).to_yaml())
    (run,) = find_runs([tmp_path]).runs
    assert (run.best, run.rows, run.seconds) == (None, (), 0)
