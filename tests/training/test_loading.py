from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from photographs import write_folder
from seen import centred
from striate.data.embedded import load_digits
from striate.data.images import ImageFileError
from striate.data.sets import ImageFiles
from striate.data.source import open_data
from striate.training.config import TrainConfig
from striate.training.group import Group
from striate.training.loading import EvenBatches, Loader
from striate.training.tasks import Classification


@given(count=st.integers(1, 300), batch_size=st.integers(1, 70), epoch=st.integers(0, 5), start=st.integers(0, 300))
def test_an_epoch_is_cut_evenly_and_can_be_entered_anywhere(
    count: int, batch_size: int, epoch: int, start: int
) -> None:
    batches = EvenBatches(count, batch_size, seed=1)
    batches.move_to(epoch)
    whole = list(batches)
    assert sorted(index for _, indices in whole for index in indices) == list(range(count))
    sizes = {len(indices) for _, indices in whole}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(whole) == batches.steps == -(-count // batch_size)
    start = min(start, len(whole))
    batches.move_to(epoch, start)
    assert list(batches) == whole[start:]


def test_each_epoch_has_an_order_of_its_own_and_without_a_seed_the_set_has_its_own() -> None:
    shuffled = EvenBatches(100, 100, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        shuffled.move_to(epoch)
        orders.append(next(iter(shuffled))[1])
    assert orders[0] != orders[1]
    assert orders[0] == orders[2] != list(range(100))
    assert next(iter(EvenBatches(100, 100, seed=None)))[1] == list(range(100))


def test_an_image_that_is_drawn_again_is_another_one_to_what_changes_it() -> None:
    chances = np.array([0.7, 0.2, 0.1] + [0.0] * 7)
    batches = EvenBatches(10, 4, seed=1, chances=chances)
    drawn = [index for _, indices in batches for index in indices]
    assert len(set(drawn)) == len(drawn) == 10
    for image in range(3):
        times = sorted(index // 10 for index in drawn if index % 10 == image)
        assert times == list(range(len(times)))
    assert {index % 10 for index in drawn} <= {0, 1, 2}
    assert sum(index % 10 == 0 for index in drawn) > 4


@given(count=st.integers(7, 120), batch_size=st.integers(7, 40), size=st.integers(1, 7))
def test_processes_share_every_batch_and_every_image(count: int, batch_size: int, size: int) -> None:
    alone = [places for _, places in EvenBatches(count, batch_size, seed=1)]
    if min(map(len, alone)) < size:
        return
    shared = [list(EvenBatches(count, batch_size, 1, Group(size, rank))) for rank in range(size)]
    for step, whole in enumerate(alone):
        parts = [batches[step][1] for batches in shared]
        assert [place for part in parts for place in part] == whole
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert EvenBatches(count, batch_size, 1, Group(size, 0)).size_of(step) == len(whole)
    in_order = [EvenBatches(count, batch_size, None, Group(size, rank)) for rank in range(size)]
    assert [place for batches in in_order for _, places in batches for place in places] == list(range(count))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    digits = load_digits().subset(range(200))
    task = Classification(TrainConfig(data="digits", model="lenet5", shift=2), centred(), digits.classes)

    def loader(workers: int) -> Loader:
        return Loader(digits, task.augment, batch_size=32, seed=4, workers=workers)

    alone, together = loader(0), loader(workers)
    for epoch, start in ((0, 0), (1, 0), (1, 3)):
        pairs = list(zip(alone.epoch(epoch, start), together.epoch(epoch, start), strict=True))
        assert len(pairs) == 7 - start
        for a, b in pairs:
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.labels, b.labels)  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_has_gone_bad_is_named_from_whichever_process(tmp_path: Path, workers: int) -> None:
    splits = open_data(str(write_folder(tmp_path, {"": 6})), 0).prepared(3, (8, 8), 1.0)
    assert isinstance(splits.train, ImageFiles)
    splits.train.paths[2].write_bytes(b"")
    task = Classification(TrainConfig(data="d", model="m"), centred(3), splits.train.classes)
    with pytest.raises(ImageFileError, match=f"{splits.train.paths[2].name}: an empty file"):
        list(Loader(splits.train, task.collate, batch_size=4, workers=workers).epoch())
