"""Where things may be in the images of a set, by selective search: looked for once, and kept on the disk."""

import gc
import hashlib
import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from torch.utils.data import DataLoader, Dataset

from striate.counted import Counted
from striate.data.images import Picture
from striate.data.sets import ImageSet
from striate.detection.proposals import SearchMode
from striate.detection.selective_search import selective_search
from striate.errors import StriateError
from striate.files import cache_folder, replace_file

VERSION = 1  # Of the search: with another one, images are searched anew.


class Searching(Counted):
    """Images are being searched."""

    what = "searching for proposals"


@dataclass(frozen=True, slots=True)
class Searched:
    """One image's proposals.

    Args:
        proposals: xyxy in the image's own pixels, the best first.
        found: how many there are, of which those are the first.
        seconds: that the search took; None where it was done before.
        stored: bytes on the disk.
    """

    proposals: Float32[np.ndarray, "k 4"]
    found: int
    seconds: float | None
    stored: int


def proposals_folder() -> Path:
    """Return where proposals are kept: STRIATE_PROPOSALS, or striate/proposals in the user's cache."""
    return Path(os.environ.get("STRIATE_PROPOSALS") or cache_folder("proposals"))


def search_images(
    images: ImageSet, mode: SearchMode = "fast", count: int = 2000, workers: int = 0
) -> Generator[Searching, None, list[Searched]]:
    """Search each image of a set, telling how far it is, and return what was found.

    What an image was searched for once is kept on the disk, one small file for each by its pixels, so that a search
    that was broken off goes on, and the next one is over at once.

    Args:
        images: of which each is searched whole; of other numbers of channels than 1 or 3, the first three, or the
            first.
        mode: of the search.
        count: proposals of an image, at most.
        workers: processes; 0 searches in this one.

    Raises:
        ImageFileError: naming an image that cannot be read.
        StriateError: where the file system refuses to keep what was found.
    """
    found: list[Searched] = []
    yield Searching(0, len(images))
    for each in _each(_Search(images, mode, count), workers):
        if isinstance(each, StriateError):
            raise each
        found.append(each)
        yield Searching(len(found), len(images))
    return found


def _each(search: "_Search", workers: int) -> Iterator[Searched | StriateError]:
    if workers == 0:
        yield from (search[place] for place in range(len(search)))
    else:
        gc.collect()  # A process that is forked must not be the one that clears an earlier loader away.
        # Its processes have one thread each, pass a Ctrl-C over, and end when this one does.
        yield from DataLoader(search, batch_size=None, num_workers=min(workers, len(search), os.cpu_count() or 1))


class _Search(Dataset[Searched | StriateError]):
    """What is found in each image, or why one cannot be read, as a value: so the error comes out of a process whole."""

    def __init__(self, images: ImageSet, mode: SearchMode, count: int) -> None:
        self._images, self._mode, self._count = images, mode, count

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, place: int) -> Searched | StriateError:
        try:
            return search_picture(self._images.picture(place), self._mode, self._count)
        except StriateError as error:
            return error


def search_picture(picture: Picture, mode: SearchMode, count: int) -> Searched:
    """Return what is found in one image, or was before; arguments as for `search_images`."""
    image = picture.colours()
    path = proposals_folder() / f"{mode}-{VERSION}" / f"{_digest(image)}.npz"
    proposals, seconds = _load(path), None
    if proposals is None:
        begin = time.perf_counter()
        proposals = selective_search(image, mode)
        seconds = time.perf_counter() - begin
        _keep(path, proposals)
    return Searched(proposals[:count], len(proposals), seconds, path.stat().st_size)


def _digest(image: UInt8[np.ndarray, "H W 3"]) -> str:
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(image.data)
    return digest.hexdigest()


def _load(path: Path) -> Float32[np.ndarray, "K 4"] | None:
    """Return what was kept, or None where nothing was, or it is damaged."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            proposals = file["proposals"]
    except Exception:  # An archive can be broken in many ways, and each reader has errors of its own for them.
        return None
    is_whole = proposals.dtype == np.float32 and proposals.ndim == 2 and proposals.shape[1] == 4
    return proposals if is_whole else None


def _keep(path: Path, proposals: Float32[np.ndarray, "K 4"]) -> None:
    def write(beside: Path) -> None:
        with beside.open("wb") as file:
            np.savez_compressed(file, proposals=proposals)

    # Another process may have found the same picture: each writes a file of its own.
    own = path.with_suffix(f".{os.getpid()}.npz")
    replace_file(own, write)
    os.replace(own, path)
