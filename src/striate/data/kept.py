"""Decoded images kept in memory, within a limit, for all processes that load them."""

import mmap
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from striate.data.images import Picture, picture_of

MARK = np.dtype(np.uint32)
KEPT = (1, 3)  # Channels; of others, a picture is more than its levels.


class KeptPictures:
    """Pictures as they were decoded, each in a place of its own, filled when it is first read.

    The memory is shared by the processes that are forked from this one, as torch's loaders are on Linux. Copies that
    are pickled, as where processes are started anew, keep nothing.

    Args:
        shapes: of the pictures, (height, width, channels) by their files; in this order, each that still fits in has a
            place.
        limit: bytes for all.
    """

    def __init__(self, shapes: Iterable[tuple[Path, tuple[int, int, int]]], limit: int) -> None:
        self._places: dict[Path, tuple[int, int, tuple[int, int, int]]] = {}
        end = 0
        for path, shape in shapes:
            size = prod(shape)
            if path not in self._places and shape[2] in KEPT and end + size + MARK.itemsize <= limit:
                self._places[path] = end + MARK.itemsize, size, shape
                end += size + MARK.itemsize
        self.size = end
        self._memory = mmap.mmap(-1, max(end, 1))

    def __len__(self) -> int:
        return len(self._places)

    def __reduce__(self) -> tuple[object, ...]:
        return KeptPictures, ((), 0)

    def picture(self, path: Path, decode: Callable[[], Picture]) -> Picture:
        """Return the picture of a file, decoding it the first time, and always if there is no place for it."""
        if path not in self._places:
            return decode()
        start, size, shape = self._places[path]
        memory = np.frombuffer(self._memory, np.uint8)
        mark = memory[start - MARK.itemsize : start]
        place = memory[start : start + size]
        # Another process may be writing there. It leaves the mark last, but memory may show that first.
        if mark.view(MARK)[0] and int(mark.view(MARK)[0]) == _mark(place):
            return picture_of(torch.from_numpy(place.reshape(shape)).permute(2, 0, 1))
        picture = decode()
        levels = picture.pixels().permute(1, 2, 0).numpy()
        if levels.shape == shape:
            place[:] = levels.reshape(-1)
            mark.view(MARK)[0] = _mark(place)
        return picture


def _mark(levels: NDArray[np.uint8]) -> int:
    return crc32(levels.data) or 1
