"""Verbs of ``striate compare`` for experiments on small images: one function, told once for each."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from striate.data.names import find_data
from striate.jobs.experiments.table import EXPERIMENTS, Experiment
from striate.jobs.usage import check_folder, check_page


def register(app: typer.Typer) -> None:
    """Give ``app`` a verb for each experiment."""
    for name, experiment in EXPERIMENTS.items():
        app.command(name, help=experiment.question)(_verb(experiment))


def _verb(experiment: Experiment) -> Callable[..., None]:
    grey = "small grey images: digits, mnist, or a folder with its four files"
    takes = grey if experiment.data == "digits" else "images of things"

    def verb(
        data: Annotated[str, typer.Option(help=takes)] = experiment.data,
        seed: Annotated[int, typer.Option(min=0, help="of weights and of the images' order")] = 0,
        html: Annotated[
            Path | None, typer.Option(metavar="FILE", help="write all of it as one page", show_default=False)
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option("-o", "--output", metavar="FOLDER", help="write each chart as SVG", show_default=False),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
    ) -> None:
        find_data(data)
        check_page(html)
        check_folder(output)

        from rich.console import Console

        from striate.cli.bars import to_the_end
        from striate.cli.tables import aligned, say
        from striate.jobs.experiments.outcome import Outcome
        from striate.jobs.experiments.page import write_charts, write_outcome_page

        found = to_the_end(experiment.run(data, seed), Outcome)
        if html is not None:
            write_outcome_page(html, found)
        if output is not None:
            write_charts(output, found)
        if as_json:
            print(json.dumps(asdict(found), indent=2))
            return
        out = Console()
        say(out, found.title)
        say(out, found.setting)
        rows = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in found.rows]
        for line in aligned([(heading, place > 0) for place, heading in enumerate(found.headings)], rows):
            say(out, line)
        if html is not None:
            say(out, f"page: {html}")
        if output is not None:
            say(out, f"charts: {output}")

    return verb
