import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from PIL import Image

from boxed_scenes import write_voc
from striate.data.boxed import BoxedFiles
from striate.data.images import ImageFileError
from striate.data.names import BoxOptions
from striate.data.reading import Reading
from striate.data.sets import ImageTensors
from striate.data.source import finish, open_data
from striate.detection.selective_search import selective_search
from striate.jobs.proposing import Searching, proposals_folder, search_images

Pixels = UInt8[np.ndarray, "H W 3"]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to keep proposals in."""
    monkeypatch.setenv("STRIATE_PROPOSALS", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def images(tmp_path: Path) -> BoxedFiles:
    write_voc(tmp_path / "data", {"train": 4, "val": 1})
    train = open_data(str(tmp_path / "data"), 0, Reading(boxes=BoxOptions())).train
    assert isinstance(train, BoxedFiles)
    return train


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process searches, by digest, with a search that is quick."""
    return watch(monkeypatch, lambda image: np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32))


def watch(monkeypatch: pytest.MonkeyPatch, search: Callable[[Pixels], np.ndarray]) -> list[str]:
    calls: list[str] = []

    def watched(image: Pixels, _mode: str) -> np.ndarray:
        calls.append(hashlib.md5(image.tobytes()).hexdigest())
        return search(image)

    monkeypatch.setattr("striate.jobs.proposing.selective_search", watched)
    return calls


def test_proposals_are_those_of_each_image_cut_to_the_count(images: BoxedFiles) -> None:
    steps = search_images(images, "fast", 7)
    assert [next(steps) for _ in range(3)] == [Searching(0, 4), Searching(1, 4), Searching(2, 4)]
    found = finish(steps)
    for place, path in enumerate(images.paths):
        theirs = selective_search(np.asarray(Image.open(path)))
        assert len(theirs) > 7
        assert np.array_equal(found[place].proposals, theirs[:7])
    assert sum(len(each.proposals) for each in finish(search_images(images, "quality", 10**6))) > 40


def test_processes_find_what_one_does(images: BoxedFiles, kept: Path) -> None:
    doubled = images.subset([0, 0, 1, 1, 2, 3])  # Two processes may find the same picture.
    parallel = finish(search_images(doubled, workers=2))
    names = sorted(path.name for path in kept.rglob("*.npz"))
    assert len(names) == 4
    kept.rename(kept.with_name("parallel"))
    alone = finish(search_images(doubled))
    assert sorted(path.name for path in kept.rglob("*.npz")) == names
    for one, other in zip(parallel, alone, strict=True):
        assert np.array_equal(one.proposals, other.proposals)
        assert (one.found, one.stored) == (other.found, other.stored)
    again = finish(search_images(doubled, workers=2))
    assert [each.seconds for each in again] == [None] * 6


def test_what_was_found_is_not_searched_again(images: BoxedFiles, searched: list[str], kept: Path) -> None:
    first = finish(search_images(images))
    assert len(searched) == 4
    assert all(each.seconds is not None for each in first)
    assert sum(each.stored for each in first) == sum(path.stat().st_size for path in kept.rglob("*.npz"))
    again = finish(search_images(images, count=1))
    assert len(searched) == 4
    assert [each.seconds for each in again] == [None] * 4
    assert all(np.array_equal(one.proposals, other.proposals) for one, other in zip(first, again, strict=True))
    finish(search_images(images, "quality"))
    assert len(searched) == 8  # Another mode is another search.


def test_a_changed_picture_is_searched_and_a_renamed_one_is_not(images: BoxedFiles, searched: list[str]) -> None:
    finish(search_images(images))
    Image.open(images.paths[0]).save(images.paths[1])
    finish(search_images(images))
    assert len(searched) == 4
    pixels = np.array(Image.open(images.paths[0]))
    pixels[3, 5, 1] ^= 1
    Image.fromarray(pixels).save(images.paths[0])
    finish(search_images(images))
    assert len(searched) == 5


def test_a_new_version_searches_anew(images: BoxedFiles, searched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    finish(search_images(images))
    monkeypatch.setattr("striate.jobs.proposing.VERSION", -1)
    finish(search_images(images))
    assert len(searched) == 8


def test_a_search_that_was_broken_off_goes_on(images: BoxedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(image: Pixels) -> np.ndarray:
        if len(calls) == 3:
            raise KeyboardInterrupt
        return selective_search(image)

    calls = watch(monkeypatch, broken)
    with pytest.raises(KeyboardInterrupt):
        finish(search_images(images))
    went_on = watch(monkeypatch, selective_search)
    found = finish(search_images(images))
    assert len(went_on) == 2
    assert went_on[0] == calls[2]
    assert [each.seconds is None for each in found] == [True, True, False, False]


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "flipped", "shape"])
def test_a_damaged_file_is_replaced(images: BoxedFiles, searched: list[str], kept: Path, damage: str) -> None:
    first = finish(search_images(images))
    path = sorted(kept.rglob("*.npz"))[1]
    content = path.read_bytes()
    if damage == "shape":
        np.savez_compressed(path, proposals=np.zeros((3, 5), np.float32))
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-30], "empty": b"", "other": b"no archive", "flipped": flipped}[damage])
    found = finish(search_images(images))
    assert len(searched) == 5
    assert all(np.array_equal(one.proposals, other.proposals) for one, other in zip(first, found, strict=True))
    assert np.load(path)["proposals"].shape == (1, 4)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named(images: BoxedFiles, workers: int) -> None:
    images.paths[2].write_bytes(b"no image")
    with pytest.raises(ImageFileError) as error:
        finish(search_images(images, workers=workers))
    assert str(images.paths[2]) in error.value.received
    assert error.value.reason == "no image that can be read"


@pytest.mark.parametrize(("channels", "taken"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])])
def test_images_of_any_channels_are_searched(channels: int, taken: list[int]) -> None:
    pixels = torch.randint(0, 256, (1, channels, 9, 12), dtype=torch.uint8)
    images = ImageTensors(pixels, torch.zeros(1, dtype=torch.int64), ("a",))
    seen = images.picture(0).colours()
    assert np.array_equal(seen, pixels[0, taken].permute(1, 2, 0).numpy())
    (found,) = finish(search_images(images))
    assert [0, 0, 12, 9] in found.proposals.tolist()


def test_nothing_is_found_in_no_images(images: BoxedFiles) -> None:
    assert finish(search_images(images.subset([]), workers=2)) == []


def test_proposals_are_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STRIATE_PROPOSALS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert proposals_folder() == tmp_path / "striate" / "proposals"
