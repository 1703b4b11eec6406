import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from striate.data.idx import has_idx_files, read_idx, read_idx_folder
from striate.errors import UsageError


def idx(values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def write_folder(folder: Path, compress: bool = False) -> None:
    for part in ("train", "t10k"):
        for kind, values in (("images-idx3", IMAGES), ("labels-idx1", np.array([1, 0], np.uint8))):
            data = idx(values)
            name = f"{part}-{kind}-ubyte"
            (folder / (name + ".gz" if compress else name)).write_bytes(
                gzip.compress(data, mtime=0) if compress else data
            )


@pytest.mark.parametrize("compress", [False, True])
def test_reads_plain_and_compressed_files(tmp_path: Path, compress: bool) -> None:
    write_folder(tmp_path, compress)
    train, test = read_idx_folder(tmp_path)
    np.testing.assert_array_equal(train.images.numpy()[:, 0], IMAGES)
    assert train.labels.tolist() == [1, 0]
    assert test.classes == ("0", "1")
    assert has_idx_files(tmp_path)
    assert not has_idx_files(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "without an idx header"),
        (b"hello, this is text", "without an idx header"),
        (idx(IMAGES)[:-1], "23 bytes where its header promises 24"),
        (idx(IMAGES) + b"x", "25 bytes where its header promises 24"),
        (idx(IMAGES[0]), "in 2 axes, not unsigned bytes in 3"),
        (struct.pack(">HBB3I", 0, 13, 3, 1, 1, 1) + b"1234", "elements of type 0x0d"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31), "its header promises"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-9], "cannot be read"),
        (gzip.compress(idx(IMAGES), mtime=0)[:20] + b"\0" * 30, "cannot be read"),
    ],
)
def test_damaged_files_are_refused_with_what_is_wrong(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=complaint):
        read_idx(path, 3)


def test_missing_and_unequal_files_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([1], np.uint8)))
    with pytest.raises(UsageError, match="received 2 images of 3x4 and 1 labels"):
        read_idx_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UsageError, match="a file t10k-labels-idx1-ubyte"):
        read_idx_folder(tmp_path)


def test_reads_the_real_mnist(shared_data: Callable[[str], Path]) -> None:
    train, test = read_idx_folder(shared_data("mnist"))
    assert (len(train), len(test)) == (60_000, 10_000)
    # The published counts of each digit, mean and standard deviation.
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = train.images.numpy() / np.float32(255)
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (0.1307, 0.3081)
