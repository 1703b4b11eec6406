from pathlib import Path
from typing import Any

import pytest
import torch

from striate.errors import StriateError
from striate.training.checkpoint import Generation, Progress, load_generation, save_generation
from striate.training.records import EpochRecord

RECORD = EpochRecord(1, 3, 4, 0.1, 1 / 3, {"loss": 0.1 + 0.2, "accuracy": 1.0}, True, 2.5, 1e9 / 3)


def generation(epoch: int = 1, step_in_epoch: int = 2) -> Generation:
    progress = Progress(
        {"data": "abc"}, epoch, step_in_epoch, 6, loss_sum=0.1 * 3, images=7, best={"loss": 1e-17}, records=[RECORD]
    )
    optimizer: dict[str, Any] = {"state": {0: {"step": torch.tensor(3.0), "m": torch.randn(2, 3, 4, 4)}}, "lr": 0.1}
    return Generation({"w": torch.randn(2, 3)}, {"n": torch.tensor(5)}, optimizer, progress)


def test_all_comes_back_bit_for_bit(tmp_path: Path) -> None:
    saved = generation()
    save_generation(tmp_path, saved)
    loaded = load_generation(tmp_path)
    assert loaded is not None
    assert loaded.progress == saved.progress
    assert loaded.network["w"].equal(saved.network["w"])
    assert loaded.average is not None
    assert loaded.average["n"].equal(torch.tensor(5))
    assert loaded.optimizer["state"][0]["m"].equal(saved.optimizer["state"][0]["m"])


def test_there_is_one_generation_and_it_is_the_last(tmp_path: Path) -> None:
    assert load_generation(tmp_path / "nowhere") is None
    for epoch, step in ((0, 0), (0, 9), (0, 10), (1, 0), (11, 0)):
        save_generation(tmp_path, generation(epoch, step))
        loaded = load_generation(tmp_path)
        assert loaded is not None
        assert (loaded.progress.epoch, loaded.progress.step_in_epoch) == (epoch, step)
        assert len(list(tmp_path.iterdir())) == 1


def test_a_half_written_one_is_not_seen_and_is_cleared_away(tmp_path: Path) -> None:
    save_generation(tmp_path, generation(0, 5))
    (tmp_path / ".writing").mkdir()
    (tmp_path / ".writing" / "network.safetensors").write_bytes(b"half")
    loaded = load_generation(tmp_path)
    assert loaded is not None
    assert loaded.progress.step_in_epoch == 5
    save_generation(tmp_path, generation(0, 6))
    assert [path.name for path in tmp_path.iterdir()] == ["000000-000000006"]


@pytest.mark.parametrize("name", ["network.safetensors", "average.safetensors", "optimizer.pt", "progress.json"])
def test_a_damaged_one_is_refused_by_name(tmp_path: Path, name: str) -> None:
    save_generation(tmp_path, generation())
    (path,) = tmp_path.glob(f"*/{name}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StriateError, match=str(path.parent)):
        load_generation(tmp_path)


def test_a_disk_that_refuses_leaves_the_generation_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_generation(tmp_path, generation(0, 1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StriateError, match="No space left on device"):
        save_generation(tmp_path, generation(0, 2))
    loaded = load_generation(tmp_path)
    assert loaded is not None
    assert loaded.progress.step_in_epoch == 1
