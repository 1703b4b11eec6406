"""Pooling, strides and neither, where counts are known."""

import pytest

from striate.jobs.experiments import pooling
from striate.jobs.experiments.outcome import Outcome, Trying


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little that it takes seconds."""
    monkeypatch.setattr(pooling, "MOST", 64)
    monkeypatch.setattr(pooling, "EPOCHS", 1)


def test_pooling_against_strides(few: None) -> None:
    """Parameters and fields are those of the arithmetic: 3 x 3 convolutions of 32, 64 and 64 maps on 28 x 28."""
    *steps, found = pooling.compare_pooling()
    assert [(each.done, each.total) for each in steps if isinstance(each, Trying)] == [(n, 8) for n in range(1, 9)]
    assert isinstance(found, Outcome)
    rows = {str(row[0]): row[1:] for row in found.rows}
    assert list(rows) == list(pooling.WAYS)
    convolutions = 9 * 32 + 32 + 9 * 32 * 64 + 64 + 9 * 64 * 64 + 64
    head = 512 + 512 * 10 + 10
    # 28, 26, 13, 11, 5, 3; or 28, 26, 24, 22.
    pooled, whole = 3 * 3 * 64, 22 * 22 * 64
    strides = 4 * 32 * 32 + 32 + 4 * 64 * 64 + 64
    assert whole == 30_976
    assert [row[1] for row in rows.values()] == [
        convolutions + pooled * 512 + head,
        convolutions + pooled * 512 + head,
        convolutions + strides + pooled * 512 + head,
        convolutions + 15_860_224 - 512 + head,
    ]
    assert [row[3] for row in rows.values()] == ["18 x 18", "18 x 18", "18 x 18", "7 x 7"]
    assert [row[4] for row in rows.values()] == [pooled, pooled, pooled, whole]
    peaks = {name: int(row[5]) for name, row in rows.items()}
    assert peaks["none"] > 5 * peaks["max pooling"]
    assert all(len(curve) == 2 for curve in found.charts[0].curves.values())
