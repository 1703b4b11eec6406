"""A run killed at any moment ends as one that never was."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from striate.files import load_tensors

KILLED = Path(__file__).with_name("killed.py")


def lives(root: Path, points: list[str]) -> list[dict[str, Any]]:
    """Live through all the points; return what the lives said."""
    command = [sys.executable, str(KILLED), str(root), *points]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def outcome(folder: Path) -> dict[str, object]:
    """All that a run leaves behind, but for how long it took."""
    (generation,) = (folder / "resume").iterdir()
    with (folder / "results.csv").open(newline="") as file:
        rows = [
            {k: v for k, v in row.items() if k not in ("seconds", "images_per_second", "waited")}
            for row in csv.DictReader(file)
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
def undisturbed(root: Path) -> tuple[list[str], dict[str, object]]:
    (_, end) = lives(root, [""])
    return end["events"], outcome(root / "killed-never")


@pytest.mark.slow
def test_the_undisturbed_run_learned_and_moved_its_weights(
    undisturbed: tuple[list[str], dict[str, object]], root: Path
) -> None:
    events, left = undisturbed
    assert events.count("step") == 12
    assert left["generation"] == "000003-000000000"
    rows = left["rows"]
    assert isinstance(rows, list)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    last = load_tensors(root / "killed-never" / "weights" / "last" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in last.values())


def check(root: Path, undisturbed: tuple[list[str], dict[str, object]], points: list[str]) -> None:
    events, left = undisturbed
    said = lives(root, points)
    for point in points:
        folder = f"killed-{point}"
        assert outcome(root / folder) == left, f"killed at {point} of {len(events)} events"
        starts = [life["from_step"] for life in said if life["folder"] == folder and "from_step" in life]
        done = 0
        for deadly, start in zip(point.split(","), starts[-point.count(",") - 1 :], strict=True):
            # At most the step that was being saved is lost.
            done += events[: int(deadly)].count("step") if done == 0 else 0
            assert start >= done - 1, f"killed at {point}: {events[int(deadly)]}"


@pytest.mark.slow
def test_a_run_killed_at_many_moments_ends_as_one_that_never_was(
    root: Path, undisturbed: tuple[list[str], dict[str, object]]
) -> None:
    """At the first of all events, and in the middle of every second kind's; the slow test has all of them."""
    events, _ = undisturbed
    points = {0}
    for kind in sorted(set(events))[::2]:
        places = [place for place, event in enumerate(events) if event == kind]
        points.add(places[len(places) // 2])
    assert len(points) > 4
    twice = f"{len(events) // 3},{len(events) // 4}"
    check(root, undisturbed, [twice, *map(str, sorted(points))])


@pytest.mark.slow
def test_a_run_killed_at_every_single_moment_ends_as_one_that_never_was(
    root: Path, undisturbed: tuple[list[str], dict[str, object]]
) -> None:
    events, _ = undisturbed
    check(root, undisturbed, [str(event) for event in range(len(events))])
