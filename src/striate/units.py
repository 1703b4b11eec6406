"""Numbers for people: bytes, durations and counts."""

import re

from striate.errors import UsageError

UNITS = {"": 1, "B": 1} | {
    f"{prefix}{middle}B": base**power
    for power, prefix in enumerate("kMGT", 1)
    for middle, base in (("", 1000), ("i", 1024))
}


def format_bytes(size: int) -> str:
    """Say ``size`` bytes in decimal and binary units.

    >>> format_bytes(903_400 * 4)
    '3.61 MB (3.45 MiB)'
    """
    if size < 1000:
        return f"{size} bytes"
    return f"{_scaled(size, 1000, ('kB', 'MB', 'GB', 'TB'))} ({_scaled(size, 1024, ('KiB', 'MiB', 'GiB', 'TiB'))})"


def parse_bytes(text: str) -> int:
    """Read a number of bytes, with a decimal or a binary unit or none.

    >>> parse_bytes("4GiB"), parse_bytes("1.5 MB"), parse_bytes("4096")
    (4294967296, 1500000, 4096)

    Raises:
        UsageError: for anything else.
    """
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    known = {unit.lower(): size for unit, size in UNITS.items()}
    size = 0 if parts is None or parts[2].lower() not in known else round(float(parts[1]) * known[parts[2].lower()])
    if size < 1:
        raise UsageError(
            expected="a number of bytes, such as 4GiB, 500MB or 4096",
            received=repr(text),
            remedy="Units: kB, MB, GB, TB (1000 each) and KiB, MiB, GiB, TiB (1024 each).",
        )
    return size


def _scaled(size: int, base: int, names: tuple[str, ...]) -> str:
    value, last = size / base, len(names) - 1
    for place, name in enumerate(names):
        if round(value, 2) < base or place == last:
            return f"{value:.2f} {name}"
        value /= base
    raise AssertionError("unreachable: the last unit takes everything")


def format_count(count: int) -> str:
    """Say a large number in thousands, millions and so on.

    >>> format_count(4_089_184_256)
    '4.09 G'
    """
    return str(count) if count < 1000 else _scaled(count, 1000, ("k", "M", "G", "T"))


def format_duration(seconds: float) -> str:
    """Say a time as its two largest units.

    >>> format_duration(3.21), format_duration(75), format_duration(3725)
    ('3.2 s', '1 min 15 s', '1 h 02 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_size(size: tuple[int, int]) -> str:
    """Say an image size, (height, width) in pixels, as height x width.

    >>> format_size((32, 24))
    '32x24'
    """
    return f"{size[0]}x{size[1]}"


def format_number(count: int, thing: str) -> str:
    """Say how many there are of something.

    >>> format_number(1, "part"), format_number(1200, "part")
    ('1 part', '1,200 parts')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
