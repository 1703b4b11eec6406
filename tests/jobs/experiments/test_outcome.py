"""What an experiment leaves: a page, charts."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from striate.jobs.experiments.fitting import SmallSet, read_small
from striate.jobs.experiments.outcome import Chart, Outcome
from striate.jobs.experiments.page import write_charts, write_outcome_page
from striate.jobs.experiments.table import EXPERIMENTS


def test_each_experiment_has_a_question_and_a_page(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert all(each.question.endswith(".") for each in EXPERIMENTS.values())
    *_, found = EXPERIMENTS["initialisation"].run("digits", 1)
    assert isinstance(found, Outcome)
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_outcome_page(path, found)
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") == len(found.charts) == 5
    assert "ReLU, Xavier, batch norm" in page
    assert isinstance(read_small("digits", 8, 0), SmallSet)


def test_charts_are_files_of_their_own(tmp_path: Path) -> None:
    points = {"one": [(0.0, 1.0), (1.0, 2.0)], "two": [(0.0, 2.0), (1.0, 1.0)]}
    charts = (Chart("Loss of each step", "step", "loss", points), Chart("Loss of each step", "step", "loss", points))
    write_charts(tmp_path / "charts", Outcome("Title?", "Setting.", ("way",), (("one",),), charts))
    files = sorted(path.name for path in (tmp_path / "charts").iterdir())
    assert files == ["Loss_of_each_step-2.svg", "Loss_of_each_step.svg"]
    root = ElementTree.fromstring((tmp_path / "charts" / files[0]).read_bytes())
    assert {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")} >= {"one", "two", "step", "loss"}
