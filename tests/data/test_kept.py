import pickle
from pathlib import Path

import pytest
import torch

from photographs import write_folder
from seen import centred
from striate.data.images import ImageFileError, read_image
from striate.data.kept import KeptPictures
from striate.data.sets import ImageFiles, Splits
from striate.data.source import open_data
from striate.training.config import TrainConfig
from striate.training.loading import Loader
from striate.training.tasks import Classification


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    return open_data(str(write_folder(tmp_path, {"": 6})), 0).prepared(3, (8, 8), 1.0)


def files(splits: Splits) -> ImageFiles:
    assert isinstance(splits.train, ImageFiles)
    return splits.train


def bytes_of(images: ImageFiles) -> list[int]:
    return [3 * height * width + 4 for height, width in images.sizes]


def test_what_is_kept_is_what_was_decoded(splits: Splits) -> None:
    plain, kept = files(splits), files(splits.keeping(10**9))
    for _ in range(2):
        assert torch.equal(plain.pixels(), kept.pixels())
    for path in plain.paths:
        path.write_bytes(b"")
    assert kept.pixels().shape[0] == len(plain)  # No file is read again.
    with pytest.raises(ImageFileError):
        plain.pixels()


def test_the_limit_holds_and_the_rest_is_decoded_each_time(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = files(splits)
    sizes = bytes_of(plain)
    limited = files(splits.keeping(sum(sizes[:3])))
    assert limited.kept is not None
    assert limited.kept.size == sum(sizes[:3])
    assert len(limited.kept) == 3
    calls: list[Path] = []

    def counted(path: Path, *arguments: int) -> object:
        calls.append(path)
        return read_image(path, *arguments)

    monkeypatch.setattr("striate.data.sets.read_image", counted)
    limited.pixels()
    assert calls == list(plain.paths)
    calls.clear()
    assert torch.equal(limited.pixels(), files(splits).pixels())
    assert calls[: len(plain) - 3] == list(plain.paths[3:])


def test_processes_that_load_fill_it_together(splits: Splits) -> None:
    kept = files(splits.keeping(10**9))
    task = Classification(TrainConfig(data="d", model="m"), centred(3), kept.classes)
    loader = Loader(kept, task.collate, batch_size=4, workers=2)
    first = torch.cat([batch.images for batch in loader.epoch()])
    for path in kept.paths:
        path.write_bytes(b"")
    assert torch.equal(torch.cat([batch.images for batch in loader.epoch(1)]), first)
    assert len(kept.pixels()) == len(kept)  # This process sees what those have decoded.


def test_a_picture_that_is_half_written_is_decoded(splits: Splits) -> None:
    kept = files(splits.keeping(10**9))
    whole = kept.pixels()
    assert kept.kept is not None
    half = bytes_of(kept)[0] // 2
    kept.kept._memory[half : half + 300] = bytes(300)
    assert torch.equal(kept.pixels(), whole)


def test_a_pickled_copy_keeps_nothing(splits: Splits) -> None:
    copy = pickle.loads(pickle.dumps(files(splits.keeping(10**9))))
    assert len(copy.kept) == 0
    assert torch.equal(copy.pixels(), files(splits).pixels())


def test_pictures_with_transparency_are_not_kept() -> None:
    assert len(KeptPictures([(Path("a"), (2, 2, 4)), (Path("b"), (2, 2, 1))], 100)) == 1
