"""A run killed at any moment ends as one that never was."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from striate.files import load_tensors

KILLED = Path(__file__).with_name("killed.py")


def lives(root: Path, points: list[str]) -> int:
    """Live through all the points; return the number of events of the last whole life."""
    command = [sys.executable, str(KILLED), str(root), *points]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[-1])


def outcome(folder: Path) -> dict[str, object]:
    """All that a run leaves behind, but for how long it took."""
    (generation,) = (folder / "resume").iterdir()
    with (folder / "results.csv").open(newline="") as file:
        rows = [
            {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in csv.DictReader(file)
        ]
    optimizer = torch.load(generation / "optimizer.pt", weights_only=True)["optimizer"]["state"]
    return {
        "rows": rows,
        "generation": generation.name,
        "weights": {path.parent.name: path.read_bytes() for path in folder.glob("weights/*/*.safetensors")},
        "config": {path.parent.name: path.read_text() for path in folder.glob("weights/*/config.json")},
        "network": (generation / "network.safetensors").read_bytes(),
        "average": (generation / "average.safetensors").read_bytes(),
        "optimizer": {(i, k): v.tolist() for i, state in optimizer.items() for k, v in state.items()},
        "report": (folder / "report.html").exists(),
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lives")


@pytest.fixture(scope="module")
def undisturbed(root: Path) -> tuple[int, dict[str, object]]:
    return lives(root, [""]), outcome(root / "killed-never")


def test_the_undisturbed_run_learned_and_moved_its_weights(
    undisturbed: tuple[int, dict[str, object]], root: Path
) -> None:
    events, left = undisturbed
    assert events > 100
    assert left["generation"] == "000003-000000000"
    rows = left["rows"]
    assert isinstance(rows, list)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    last = load_tensors(root / "killed-never" / "weights" / "last" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in last.values())


def check(root: Path, undisturbed: tuple[int, dict[str, object]], points: list[str]) -> None:
    lives(root, points)
    for point in points:
        assert outcome(root / f"killed-{point}") == undisturbed[1], f"killed at {point} of {undisturbed[0]} events"


def test_a_run_killed_at_many_moments_ends_as_one_that_never_was(
    root: Path, undisturbed: tuple[int, dict[str, object]]
) -> None:
    events, _ = undisturbed
    points = [str(round(events * share)) for share in (0.04, 0.1, 0.2, 0.33, 0.41, 0.52, 0.6, 0.74, 0.85, 0.93)]
    check(root, undisturbed, [*points, f"{events // 3},{events // 4},{events // 5}", str(events - 1)])


@pytest.mark.slow
def test_a_run_killed_at_every_single_moment_ends_as_one_that_never_was(
    root: Path, undisturbed: tuple[int, dict[str, object]]
) -> None:
    check(root, undisturbed, [str(event) for event in range(3, undisturbed[0])])
