"""What came of an experiment, on a page."""

from pathlib import Path

from striate.jobs.experiments.outcome import Outcome
from striate.reporting.figures import lines
from striate.reporting.page import Page


def write_outcome_page(path: Path, found: Outcome) -> None:
    """Write what came of an experiment as one page."""
    page = Page(found.title, found.setting)
    page.table(list(found.headings), found.rows)
    for chart in found.charts:
        page.heading(chart.title)
        page.figure(lines(chart.curves, chart.across, chart.up, log=chart.log))
    page.write(path)
