"""Data sets that are fetched by name, once, into the user's cache: checked, and gone on with where a download broke.

By the standard library: what libraries there are for this begin a broken download anew, and do not say how far it is.
"""

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from striate.counted import Counted
from striate.data.remote import REMOTE, Remote
from striate.errors import StriateError
from striate.files import cache_folder, make_folder

BLOCK = 1 << 18
TRIES = 3
SECONDS = 30


class Fetching(Counted):
    """Bytes of a data set's file are being downloaded."""

    what = "downloading"


def data_folder() -> Path:
    """Return where data sets are kept: STRIATE_DATA, or striate/data in the user's cache."""
    return Path(os.environ.get("STRIATE_DATA") or cache_folder("data"))


def fetch(name: str) -> Generator[Fetching, None, Path]:
    """Return the folder of a data set of `REMOTE`, downloading and unpacking what is not there yet.

    Raises:
        StriateError: where it cannot be reached, with which file to put where; or a file is not what was published.
    """
    remote, folder = REMOTE[name], data_folder() / name
    unpacked = folder / remote.folder
    if _is_whole(remote, folder):
        return unpacked
    make_folder(folder)
    with FileLock(folder / ".lock"):  # The other processes of a run want it, too.
        if _is_whole(remote, folder):
            return unpacked
        for file, size, digest in remote.files:
            path = folder / file
            if not path.exists():
                yield from _download(f"{remote.url}/{file}", path, size)
            _expect_digest(path, digest)
        if remote.folder:
            _unpack(folder / remote.files[0][0], remote.folder)
    return unpacked


def _is_whole(remote: Remote, folder: Path) -> bool:
    """Tell whether a data set is there; files that are used as they are, are held against their digests.

    Raises:
        StriateError: where such a file is another than was published.
    """
    if remote.folder:
        return (folder / remote.folder).is_dir()
    there = [(folder / file, digest) for file, _, digest in remote.files if (folder / file).exists()]
    for path, digest in there:
        _expect_digest(path, digest)
    return len(there) == len(remote.files)


def _download(url: str, path: Path, size: int) -> Generator[Fetching, None, None]:
    part = path.with_name(f"{path.name}.part")
    for tried in range(TRIES):
        try:
            yield from _go_on(url, part, size)
            part.rename(path)
            return
        except (OSError, http.client.HTTPException) as error:
            if tried < TRIES - 1 and not isinstance(error, urllib.error.HTTPError):
                continue
            have = part.stat().st_size if part.exists() else 0
            raise StriateError(
                expected=f"to download {url}",
                received=f"{error} after {have:,} of {size:,} bytes",
                remedy=f"Run it again, and it goes on from there; or put {path.name} into {path.parent} yourself.",
            ) from error


def _go_on(url: str, part: Path, size: int) -> Generator[Fetching, None, None]:
    """Download what is missing of a file.

    Raises:
        OSError: where the connection breaks, or ends too early.
    """
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    if have == size:
        return
    wanted = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(wanted, timeout=SECONDS) as answer, part.open("ab" if have else "wb") as file:
        if have and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            file.truncate(0)  # It was sent from the beginning.
            have = 0
        while have < size and (block := answer.read(BLOCK)):
            file.write(block)
            have += len(block)
            yield Fetching(have, size)
    if have < size:
        raise ConnectionError("the connection ended")


def _expect_digest(path: Path, digest: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise StriateError(
            expected=f"{path} with the SHA-256 digest {digest}",
            received=found,
            remedy="It is not what was published. Delete it, and it is downloaded again; or, if it is yours, name the "
            "folder that it is in instead of the data set.",
        )


def _unpack(archive: Path, folder: str) -> None:
    """Unpack an archive beside itself; what is in place of ``folder`` is always whole."""
    beside = archive.parent / ".unpacking"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with tarfile.open(archive) as file:
            for member in file:
                _unpack_member(file, member, beside)
        (beside / folder).rename(archive.parent / folder)
    except (OSError, tarfile.TarError) as error:
        raise StriateError(
            expected=f"to unpack {archive}",
            received=str(error),
            remedy="Free some space, or delete it, and it is downloaded again.",
        ) from error
    with suppress(OSError):
        shutil.rmtree(beside)
        archive.unlink()


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one file of an archive below a folder; what is no file is left out, and links are not followed.

    Raises:
        OSError: for a name that reaches outside.
    """
    place = folder / member.name
    if not place.resolve().is_relative_to(folder.resolve()):
        raise OSError(f"{member.name} would lie outside of it")
    content = archive.extractfile(member) if member.isfile() else None
    if content is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with content, place.open("wb") as file:
            shutil.copyfileobj(content, file)
