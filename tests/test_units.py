import pytest

from striate.errors import UsageError
from striate.units import format_bytes, format_count, format_duration, format_size, parse_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (3_613_600, "3.61 MB (3.45 MiB)"),
        (4 * 1024**3, "4.29 GB (4.00 GiB)"),
        (999_999, "1.00 MB (976.56 KiB)"),
        (5 * 1000**5, "5000.00 TB (4547.47 TiB)"),
    ],
)
def test_bytes_are_said_in_both_units(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (119.6, "2 min 00 s"),
        (3599.7, "1 h 00 min"),
        (7260, "2 h 01 min"),
    ],
)
def test_durations_round_up_into_the_next_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_sizes_are_height_by_width() -> None:
    assert format_size((32, 24)) == "32x24"


def test_counts_are_said_in_thousands() -> None:
    assert [format_count(n) for n in (999, 1000, 999_999, 15_470_264_320)] == ["999", "1.00 k", "1.00 M", "15.47 G"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * 1024**3),
        ("4 gib", 4 * 1024**3),
        ("500MB", 500_000_000),
        ("0.5KiB", 512),
        ("1.5kB", 1500),
        ("2TB", 2 * 10**12),
        ("4096", 4096),
        ("4096B", 4096),
    ],
)
def test_bytes_are_read_in_both_units(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "4G", "GiB", "-1MB", "0", "4,5GB", "1e9", "four"])
def test_what_is_no_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 4GiB"):
        parse_bytes(text)
