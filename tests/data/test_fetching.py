import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from servers import Served, serving
from striate.data import fetching
from striate.data.fetching import Fetching
from striate.data.names import FETCHED
from striate.data.remote import REMOTE, Remote
from striate.data.source import finish, open_data, read_data
from striate.errors import StriateError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STRIATE_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


def idx(array: NDArray[np.uint8]) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def small_mnist() -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    files = {}
    for part, count in (("train", 60), ("t10k", 20)):
        files[f"{part}-images-idx3-ubyte.gz"] = idx(draw.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        files[f"{part}-labels-idx1-ubyte.gz"] = idx((np.arange(count) % 10).astype(np.uint8))
    return files


def publish(monkeypatch: pytest.MonkeyPatch, name: str, served: Served, folder: str = "") -> None:
    files = tuple((file, len(content), hashlib.sha256(content).hexdigest()) for file, content in served.files.items())
    monkeypatch.setitem(REMOTE, name, Remote(served.url, files, folder))


def test_each_set_that_is_fetched_has_a_name_and_whole_digests() -> None:
    assert set(REMOTE) == set(FETCHED)
    for remote in REMOTE.values():
        assert all(size > 0 and len(digest) == 64 and int(digest, 16) for _, size, digest in remote.files)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_was(cache: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool) -> None:
    with serving(Served(small_mnist(), breaks=1, ranges=ranges)) as served:
        publish(monkeypatch, "mnist", served)
        steps = list(read_data("mnist", 0))
        images = "train-images-idx3-ubyte.gz"
        half = len(served.files[images]) // 2
        assert served.asked[:2] == [(images, None), (images, f"bytes={half}-")]
        assert Fetching(len(served.files[images]), len(served.files[images])) in steps
        splits = open_data("mnist", 0)
        assert len(served.asked) == 5  # Nothing is fetched twice.
    assert splits.name == "mnist"
    assert {name: len(part) for name, part in splits.parts.items()} == {"train": 50, "val": 10, "test": 20}
    assert (cache / "mnist" / images).read_bytes() == served.files[images]


def test_what_a_killed_download_left_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Served(small_mnist())) as served:
        publish(monkeypatch, "mnist", served)
        images = "train-images-idx3-ubyte.gz"
        (cache / "mnist").mkdir(parents=True)
        (cache / "mnist" / f"{images}.part").write_bytes(served.files[images][:100])
        open_data("mnist", 0)
        assert served.asked[0] == (images, "bytes=100-")


def test_other_bytes_than_were_published_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Served(small_mnist())) as served:
        publish(monkeypatch, "mnist", served)
        served.files = {name: content[:-1] + b"?" for name, content in served.files.items()}
        with pytest.raises(StriateError, match="train-images.*SHA-256.*is not what was published"):
            open_data("mnist", 0)


def test_offline_it_says_which_file_to_put_where(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Served(small_mnist())) as served:
        publish(monkeypatch, "mnist", served)
    with pytest.raises(StriateError, match=f"put train-images-idx3-ubyte.gz into {cache / 'mnist'}"):
        open_data("mnist", 0)
    for name, content in served.files.items():
        (cache / "mnist" / name).write_bytes(content)
    assert len(open_data("mnist", 0).train) == 50


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_cifar_is_unpacked_and_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    rows = draw.integers(0, 256, (50, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(50) % 2
    inside = {f"cifar-10-batches-bin/data_batch_{n}.bin": rows[20 * n - 20 : 20 * n].tobytes() for n in (1, 2)}
    inside |= {"cifar-10-batches-bin/test_batch.bin": rows[40:].tobytes()}
    inside |= {"cifar-10-batches-bin/batches.meta.txt": b"airplane\nautomobile\n\n"}
    with serving(Served({"cifar.tar.gz": tar_of(inside)})) as served:
        publish(monkeypatch, "cifar10", served, "cifar-10-batches-bin")
        splits = open_data("cifar10", 0)
    assert splits.train.classes == ("airplane", "automobile")
    assert splits.test is not None
    expected = torch.from_numpy(rows[40:, 1:].reshape(10, 3, 32, 32))  # Red, green and blue, each 32 rows of 32.
    assert torch.equal(splits.test.pixels(), expected)
    assert splits.test.labels.tolist() == [0, 1] * 5
    assert len(splits.train) + len(splits.val) == 40
    assert not (cache / "cifar10" / "cifar.tar.gz").exists()
    (cache / "cifar10" / "cifar-10-batches-bin" / "data_batch_1.bin").write_bytes(b"short")
    with pytest.raises(StriateError, match=r"data_batch_1.bin: 3,073 bytes for each image; received 5 bytes"):
        open_data("cifar10", 0)


def test_an_archive_that_reaches_outside_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Served({"flowers.tgz": tar_of({"../../outside": b"x"})})) as served:
        publish(monkeypatch, "flowers", served, "flower_photos")
        with pytest.raises(StriateError, match="to unpack"):
            open_data("flowers", 0)
    assert not list(cache.parent.rglob("outside"))


def test_the_work_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BLOCK", 1000)
    with serving(Served({"a.tgz": tar_of({"flower_photos/x": np.random.default_rng(0).bytes(5000)})})) as served:
        publish(monkeypatch, "flowers", served, "flower_photos")
        steps: Any = fetching.fetch("flowers")
        seen = [next(steps) for _ in range(3)]
        assert [step.done for step in seen] == [1000, 2000, 3000]
        finish(steps)
