"""Data sets that come with libraries."""

import numpy as np
import torch

from striate.data.sets import ImageTensors


def load_digits() -> ImageTensors:
    """Return scikit-learn's 1,797 handwritten digits, 8 x 8, written by 13 people.

    They are the test part of "Optical recognition of handwritten digits" (Alpaydin and Kaynak, 1998); each pixel counts
    the inked dots, 0 to 16, of a 4 x 4 square.
    """
    from sklearn import datasets

    found = datasets.load_digits()
    levels = np.rint(found.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(name) for name in found.target_names)
    return ImageTensors(torch.from_numpy(levels).unsqueeze(1), torch.from_numpy(found.target.astype(np.int64)), classes)
