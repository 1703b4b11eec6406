"""Files that are either whole or not there: written beside their place, flushed, then renamed into it."""

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from striate.errors import StriateError

if TYPE_CHECKING:
    from torch import Tensor


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` make a file and put it in ``path``'s place in one step.

    Raises:
        StriateError: where the file system refuses (a full disk, no permission); what was at ``path`` is still there.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        make_folder(path.parent)
        write(beside)
        flush(beside)
        os.replace(beside, path)
        flush(path.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise StriateError(
            expected=f"to write {path}",
            received=error.strerror or str(error),
            remedy="Free some space or choose another place; what was saved before is untouched.",
        ) from error


def spell(path: str | Path) -> str:
    """Return a path as one line that any terminal can print: names may hold line breaks, and bytes of no script."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def unlike(name: str, taken: set[str]) -> str:
    """Return a name of letters, digits and ``-_.`` that none of ``taken`` is, like ``name``; it is taken then.

    It begins neither as a flag does nor as a hidden file.

    >>> taken = set[str]()
    >>> unlike("a b", taken), unlike("a/b", taken), unlike("-", taken)
    ('a_b', 'a_b-2', 'image')
    """
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip("-.") or "image"
    names = (f"{safe}-{number}" if number > 1 else safe for number in count(1))
    found = next(each for each in names if each not in taken)
    taken.add(found)
    return found


def cache_folder(name: str) -> Path:
    """Return the folder of the user's cache for one kind of thing; it may not exist yet."""
    try:
        home = Path.home()
    except RuntimeError:  # A container may have none.
        home = Path(tempfile.gettempdir())
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "striate" / name


def make_folder(path: Path) -> None:
    """Make a folder and those above it, so that they outlive a power cut.

    Raises:
        StriateError: where the file system refuses.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            flush(folder.parent)
    except OSError as error:
        raise StriateError(
            expected=f"to make the folder {path}",
            received=error.strerror or str(error),
            remedy="Choose another place, where you may write.",
        ) from error


def flush(path: Path) -> None:
    """Wait until the file's or folder's content has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"]) -> None:
    """Write ``tensors`` to one safetensors file, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # safetensors stores rows in order and refuses channels_last.
    rows = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}

    def write(beside: Path) -> None:
        try:
            save_file(rows, beside)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o666 & ~mask)  # safetensors makes its files private.

    replace_file(path, write)


def load_tensors(path: Path) -> dict[str, "Tensor"]:
    """Read a safetensors file.

    Raises:
        StriateError: where there is none, or it is cut short or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise StriateError(
            expected=f"a safetensors file at {path}",
            received=str(error),
            remedy="It is missing, cut short or of another format. What torch.save wrote becomes one by "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), OUT).",
        ) from error
