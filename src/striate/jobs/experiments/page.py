"""What came of an experiment: on a page, and its charts as files."""

from functools import partial
from pathlib import Path

from striate.files import replace_file, unlike
from striate.jobs.experiments.outcome import Chart, Outcome
from striate.reporting.figures import lines
from striate.reporting.page import Page


def write_outcome_page(path: Path, found: Outcome) -> None:
    """Write what came of an experiment as one page."""
    page = Page(found.title, found.setting)
    page.table(list(found.headings), found.rows)
    for chart in found.charts:
        page.heading(chart.title)
        page.figure(_draw(chart))
    page.write(path)


def write_charts(folder: Path, found: Outcome) -> None:
    """Write each chart as an SVG file of its title's name.

    Raises:
        StriateError: where the file system refuses.
    """
    taken = set[str]()
    for chart in found.charts:
        drawn = partial(Path.write_text, data=_draw(chart), encoding="utf-8")
        replace_file(folder / f"{unlike(chart.title, taken)}.svg", drawn)


def _draw(chart: Chart) -> str:
    return lines(chart.curves, chart.across, chart.up, log=chart.log)
