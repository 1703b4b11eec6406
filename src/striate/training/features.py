"""What a network makes of the boxes of each image, computed once and kept in a file, as far as there is room.

A proposal that is 1,024 numbers takes 2 kB, and 2,000 of an image 4 MB. What has no room is computed again whenever it
is asked for.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from striate.data.box_targets import BoxTargets
from striate.files import make_folder
from striate.training.loading import Loader
from striate.training.tasks.detection import BoxedImages

KEPT = np.dtype(np.float16)


class KeptFeatures:
    """The features of the boxes of some images, in their order.

    Args:
        loader: of the images, in order, as `BoxedImages`.
        look: returns the features of the boxes of a batch.
        shape: (boxes, features) of each image.
        path: of the file; one that is there is gone on with.
        limit: bytes that it may take.
    """

    def __init__(
        self,
        loader: Loader,
        look: Callable[[BoxedImages], Float[Tensor, "N B F"]],
        shape: tuple[int, int],
        path: Path,
        limit: int,
    ) -> None:
        self.loader, self.look, self.shape, self.path = loader, look, shape, path
        self._image = shape[0] * shape[1] * KEPT.itemsize
        self._room = min(limit // self._image, len(loader.images))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def sweep(self) -> Iterator[tuple[BoxTargets, Float32[np.ndarray, "B F"]]]:
        """Yield what is known of each image, and the features of its boxes, rounded to 16 bits.

        What the file has is read, and what it has room for is written: each sweep gives the same.
        """
        make_folder(self.path.parent)
        have, place = self.size // self._image, 0
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            for batch in self.loader.epoch():
                assert isinstance(batch, BoxedImages)
                file.seek(min(place, have) * self._image)
                if place + len(batch) <= have:
                    rows = np.frombuffer(file.read(len(batch) * self._image), KEPT).reshape(-1, *self.shape)
                else:
                    # What is larger than 16 bits hold is large enough.
                    rows = self.look(batch).float().clamp_max(float(np.finfo(KEPT).max)).cpu().numpy().astype(KEPT)
                    file.seek(have * self._image)
                    file.write(rows[max(have - place, 0) : max(self._room - place, 0)].tobytes())
                    file.flush()
                    os.fsync(file.fileno())  # Images that are counted are there.
                    have = max(have, min(place + len(batch), self._room))
                for known, own in zip(batch.targets.tensor_split(len(batch)), rows, strict=True):
                    yield known, own.astype(np.float32)
                place += len(batch)
