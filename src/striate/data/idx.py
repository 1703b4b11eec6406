"""MNIST's own file format, idx, plain or gzip-compressed.

A header of big-endian 32-bit numbers (two zero bytes, the type of an element, the number of axes; then the axes), then
the elements in row order. (LeCun, Cortes and Burges, "The MNIST database of handwritten digits".)
"""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from striate.data.sets import ImageTensors
from striate.errors import UsageError

UNSIGNED_BYTE = 0x08
LARGEST = 1 << 32


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """Read one idx file of unsigned bytes.

    Args:
        path: the file; gzip is recognised by its content, not its name.
        axes: how many the array must have: 3 for images, 1 for labels.

    Raises:
        UsageError: where the file cannot be read, is of another format, or is shorter or longer than its header says.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"a file that cannot be read: {error}") from error
    start = 4 + 4 * axes
    if len(data) < start or data[:2] != b"\0\0":
        raise _damaged(path, "one without an idx header")
    if data[2] != UNSIGNED_BYTE or data[3] != axes:
        raise _damaged(path, f"elements of type 0x{data[2]:02x} in {data[3]} axes, not unsigned bytes in {axes}")
    shape = tuple(int(side) for side in np.frombuffer(data, ">u4", axes, offset=4))
    expected = prod(shape)
    if expected > LARGEST or len(data) - start != expected:
        raise _damaged(path, f"{len(data) - start:,} bytes where its header promises {expected:,}")
    return np.frombuffer(data, np.uint8, expected, offset=start).reshape(shape)


def has_idx_files(folder: Path) -> bool:
    """Tell whether a folder holds MNIST-style training images."""
    return folder.is_dir() and _find(folder, "train-images") is not None


def read_idx_folder(folder: Path) -> tuple[ImageTensors, ImageTensors]:
    """Read the training and the test images of a folder with MNIST's four files.

    Raises:
        UsageError: where one is missing or damaged, or images and labels do not match.
    """
    train = _read_pair(folder, "train")
    test = _read_pair(folder, "t10k")
    count = int(max(train[1].max(), test[1].max())) + 1
    classes = tuple(str(label) for label in range(count))
    train_set, test_set = (
        ImageTensors(torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.astype(np.int64)), classes)
        for images, labels in (train, test)
    )
    return train_set, test_set


def _read_pair(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    paths = []
    for kind in ("images", "labels"):
        path = _find(folder, f"{part}-{kind}")
        if path is None:
            raise UsageError(
                expected=f"a file {part}-{kind}-idx{3 if kind == 'images' else 1}-ubyte, plain or .gz, in {folder}",
                received="none",
                remedy="Put MNIST's four files there: train and t10k, images and labels.",
            )
        paths.append(path)
    images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
    if len(images) != len(labels) or images.size == 0:
        raise UsageError(
            expected=f"as many images in {paths[0].name} as labels in {paths[1].name}, and at least one",
            received=f"{len(images):,} images of {images.shape[1]}x{images.shape[2]} and {len(labels):,} labels",
            remedy="The two files belong to different sets; take both from the same source.",
        )
    return images, labels


def _find(folder: Path, stem: str) -> Path | None:
    found = sorted(path for path in folder.glob(f"{stem}*") if "idx" in path.name and path.is_file())
    return found[0] if found else None


def _damaged(path: Path, received: str) -> UsageError:
    return UsageError(
        expected=f"an idx file of unsigned bytes at {path}",
        received=received,
        remedy="Take the file from its source again.",
    )
