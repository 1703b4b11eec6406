"""Data sets read whole, and split."""

from pathlib import Path

import numpy as np
import torch

from striate.data.idx import has_idx_files, read_idx_folder
from striate.data.keyed import Use, key
from striate.data.names import EMBEDDED, find_data
from striate.data.sets import ImageSet, Splits, split_by_class
from striate.errors import UsageError

TEST_SHARE = 0.2
VAL_SHARE = 0.1


def open_data(data: str, seed: int) -> Splits:
    """Read a data set whole and split it.

    Args:
        data: a folder with MNIST-style idx files, or the name of an embedded set.
        seed: decides which training images are kept for validation and, where a set has no test part, for testing.

    Raises:
        UsageError: where nothing is found under that name, or it cannot be read.
    """
    path = find_data(data)
    if path is None:
        everything = load_digits()
        rest, held_out = split_by_class(everything.labels, TEST_SHARE, key(seed, Use.TEST_SPLIT))
        train, test, name = everything.subset(rest), everything.subset(held_out), data
    else:
        if not has_idx_files(path):
            raise UsageError(
                expected=f"MNIST-style files (train-images-idx3-ubyte and its three siblings, plain or .gz) in {data}",
                received=_describe(path),
                remedy=f"Rename that folder: it hides the embedded set {data}."
                if data in EMBEDDED
                else f"Name a folder that has them, or an embedded set: {', '.join(EMBEDDED)}.",
            )
        train, test = read_idx_folder(path)
        name = path.resolve().name
    if len(train.classes) < 2:
        raise UsageError(
            expected=f"images of two classes or more in {data}", received="one class", remedy="Add images of another."
        )
    learn, choose = split_by_class(train.labels, VAL_SHARE, key(seed, Use.VAL_SPLIT))
    if len(choose) == 0:
        raise UsageError(
            expected=f"two training images or more of some class in {data}, one of them to validate with",
            received=f"{len(train)} images, each of a class of its own",
            remedy="Add images.",
        )
    return Splits(name, train.subset(learn), train.subset(choose), test)


def load_digits() -> ImageSet:
    """Return scikit-learn's 1,797 handwritten digits, 8 x 8, written by 13 people.

    They are the test part of "Optical recognition of handwritten digits" (Alpaydin and Kaynak, 1998); each pixel counts
    the inked dots, 0 to 16, of a 4 x 4 square.
    """
    from sklearn import datasets

    found = datasets.load_digits()
    levels = np.rint(found.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(name) for name in found.target_names)
    return ImageSet(torch.from_numpy(levels).unsqueeze(1), torch.from_numpy(found.target.astype(np.int64)), classes)


def _describe(path: Path) -> str:
    if not path.is_dir():
        return "a file"
    names = sorted(entry.name for entry in path.iterdir())
    return f"a folder with {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}" if names else "an empty folder"
