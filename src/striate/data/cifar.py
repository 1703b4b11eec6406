"""CIFAR-10's binary format: for each image a byte with its class, then 3 x 32 x 32 bytes, plane by plane.

(Krizhevsky, "Learning multiple layers of features from tiny images", 2009.)
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from striate.data.sets import ImageTensors
from striate.errors import UsageError

SHAPE = (3, 32, 32)
ROW = 1 + 3 * 32 * 32
NAMES = "batches.meta.txt"


def has_cifar_files(folder: Path) -> bool:
    """Tell whether a folder holds CIFAR-10's training images."""
    return folder.is_dir() and bool(_batches(folder)) and (folder / NAMES).is_file()


def read_cifar_folder(folder: Path) -> tuple[ImageTensors, ImageTensors]:
    """Read the training and the test images.

    Raises:
        UsageError: where a file is missing or damaged.
    """
    classes = tuple((folder / NAMES).read_text(encoding="utf-8").split())
    train, test = (_read(paths, classes) for paths in (_batches(folder), [folder / "test_batch.bin"]))
    return ImageTensors(*train, classes), ImageTensors(*test, classes)


def _batches(folder: Path) -> list[Path]:
    return sorted(folder.glob("data_batch_*.bin"))


def _read(paths: list[Path], classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for path in paths:
        try:
            data = np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from error
        if len(data) == 0 or len(data) % ROW:
            raise _damaged(path, f"{len(data):,} bytes")
        rows = torch.from_numpy(data.reshape(-1, ROW))
        if int(rows[:, 0].max()) >= len(classes):
            raise _damaged(path, f"class {int(rows[:, 0].max())} of {len(classes)}")
        labels.append(rows[:, 0].long())
        images.append(rows[:, 1:].reshape(-1, *SHAPE))
    return torch.cat(images), torch.cat(labels)


def _damaged(path: Path, received: str) -> UsageError:
    return UsageError(
        expected=f"CIFAR-10's binary format at {path}: {ROW:,} bytes for each image",
        received=received,
        remedy="Take the file from its source again.",
    )
