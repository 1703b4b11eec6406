from pathlib import Path

import pytest
import torch

from striate.errors import StriateError
from striate.files import load_tensors, replace_file, save_tensors, unlike


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StriateError, match="No space left on device"):
        replace_file(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_come_back_in_value_whatever_their_layout(tmp_path: Path) -> None:
    kernel = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    save_tensors(tmp_path / "t.safetensors", {"kernel": kernel})
    assert torch.equal(load_tensors(tmp_path / "t.safetensors")["kernel"], kernel)


def test_weights_may_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(3)})
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "t.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("damage", ["missing", "truncated", "pickle"])
def test_damaged_weights_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.safetensors"
    if damage == "truncated":
        save_tensors(path, {"a": torch.zeros(100)})
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "pickle":
        torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(StriateError, match=r"expected a safetensors file at .*t\.safetensors"):
        load_tensors(path)


def test_names_of_files_are_plain_and_unlike_each_other() -> None:
    taken = set[str]()
    given = ("a b", "a/b", "a_b-2", "-", "..", "--help", "Straße.1")
    found = [unlike(name, taken) for name in given]
    assert found == ["a_b", "a_b-2", "a_b-2-2", "image", "image-2", "help", "Straße.1"]
    assert taken == set(found)
