from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import UInt8

from boxed_scenes import draw_things, seeds_of, write_voc
from striate.counted import Counted
from striate.detection.selective_search import selective_search
from striate.errors import UsageError
from striate.jobs.comparing_proposals import COUNTS, ComparedProposals, compare_proposals, write_compared_proposals_page

PARTS = {"train": 3, "val": 2, "test": 2}
SEEDS = [seed for part, count in PARTS.items() for seed in seeds_of(part, count)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STRIATE_PROPOSALS", str(tmp_path / "kept"))
    return str(write_voc(tmp_path / "data", PARTS))


def compared(data: str, *modes: Any, **options: Any) -> tuple[list[Counted], ComparedProposals]:
    *told, last = compare_proposals(data, modes or ("fast",), **options)
    assert isinstance(last, ComparedProposals)
    return [record for record in told if isinstance(record, Counted)], last


def say(monkeypatch: pytest.MonkeyPatch, proposals: dict[bytes, Sequence[Sequence[float]]]) -> None:
    def said(image: UInt8[np.ndarray, "H W 3"], _mode: str) -> np.ndarray:
        return np.array(proposals[image.tobytes()], np.float32)

    monkeypatch.setattr("striate.jobs.proposing.selective_search", said)


def test_recall_and_overlap_are_as_the_proposals_were_planted(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true box of each cell lies at place 60, of each dot one of half its width at place 150."""
    proposals, cells, dots = dict[bytes, Sequence[Sequence[float]]](), 0, 0
    for seed in SEEDS:
        image, things = draw_things(seed)
        said = [[0.0, 0.0, 1.0, 1.0]] * 300
        for number, (name, (left, top, right, bottom)) in enumerate(things):
            said[(60 if name == "cell" else 150) + number] = (
                [left, top, right, bottom] if name == "cell" else [left, top, (left + right) / 2, bottom]
            )
            cells, dots = cells + (name == "cell"), dots + (name == "dot")
        proposals[image.tobytes()] = said
    say(monkeypatch, proposals)
    told, found = compared(data, "fast", "quality", workers=0)
    assert (found.images, found.things) == (7, cells + dots)
    assert min(cells, dots) > 2
    assert told[-1].done == told[-1].total
    share = cells / (cells + dots)
    for worth, mode in zip(found.modes, ("fast", "quality"), strict=True):
        assert worth.mode == mode
        assert dict(zip(COUNTS, worth.recall, strict=True)) == pytest.approx(
            {10: 0, 50: 0, 100: share, 200: 1, 500: 1, 1000: 1, 2000: 1}
        )
        assert dict(zip(COUNTS, worth.mabo, strict=True)) == pytest.approx(
            {10: 0, 50: 0, 100: 0.5, 200: 0.75, 500: 0.75, 1000: 0.75, 2000: 0.75}, abs=0.02
        )
        assert (worth.proposals, worth.searched) == (300, 7)


def test_a_second_time_nothing_is_searched(data: str, tmp_path: Path) -> None:
    _, first = compared(data)
    _, again = compared(data)
    (one,), (other,) = first.modes, again.modes
    assert one.recall == other.recall
    assert one.recall[-1] > 0.8
    assert one.seconds is not None
    assert (other.seconds, other.searched) == (None, 0)
    assert one.stored == other.stored == sum(path.stat().st_size for path in (tmp_path / "kept").rglob("*.npz"))
    images = [draw_things(seed)[0] for seed in SEEDS]
    assert one.proposals == pytest.approx(np.mean([len(selective_search(image)) for image in images]))


@pytest.mark.parametrize(("limit", "places"), [(1, [0]), (3, [0, 2, 4]), (7, range(7)), (99, range(7))])
def test_a_limit_takes_images_from_all_over(data: str, limit: int, places: Sequence[int], tmp_path: Path) -> None:
    _, found = compared(data, limit=limit)
    assert found.images == len(places)
    assert found.things == sum(len(draw_things(SEEDS[place])[1]) for place in places)
    assert len(list((tmp_path / "kept").rglob("*.npz"))) == len(places)


def test_difficult_things_need_not_be_found(data: str) -> None:
    for path in (Path(data) / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    _, found = compared(data)
    assert found.things == sum(len(draw_things(seed)[1]) - 1 for seed in SEEDS)


def test_images_without_things_are_refused(data: str) -> None:
    for path in (Path(data) / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    with pytest.raises(UsageError, match="7 images with nothing in them that is to be found"):
        compared(data)


def test_the_page_has_the_figures_and_the_curves(data: str, tmp_path: Path) -> None:
    _, found = compared(data, limit=2)
    write_compared_proposals_page(tmp_path / "page.html", found)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 2
    assert f"{found.modes[0].recall[0]:.1%}" in page
    assert f"{found.modes[0].mabo[0]:.3f}" in page
