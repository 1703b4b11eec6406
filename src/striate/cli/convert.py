"""``striate convert``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from striate.errors import UsageError
from striate.jobs.questions import check_conversion
from striate.jobs.usage import check_page


def convert(
    run: Annotated[Path, typer.Argument(help="folder of a run, or of weights with their config", show_default=False)],
    images: Annotated[
        list[str] | None,
        typer.Argument(help="image files to compare on; those that the run has not seen by default"),
    ] = None,
    fully_convolutional: Annotated[
        bool, typer.Option("--fully-convolutional", help="turn dense layers into convolutions")
    ] = False,
    stride: Annotated[
        int, typer.Option(min=1, help="of the first layer that sees the whole map: places from answer to answer")
    ] = 1,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="for the weights; RUN/fully_convolutional by default"),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write all of it as one page", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Turn a trained classifier into one that answers at every place of an image of any size."""
    if not fully_convolutional:
        raise UsageError(
            expected="--fully-convolutional, what to convert to",
            received="nothing",
            remedy="For ONNX, see `striate export`.",
        )
    check_conversion(run, images or ())
    check_page(html)

    from rich.console import Console

    from striate.cli.tables import aligned, say
    from striate.jobs.convert import convert as job
    from striate.jobs.converted_page import in_words, write_converted_page

    done = job(run, images or (), stride=stride, output=output)
    if html is not None:
        write_converted_page(html, str(run), done)
    if as_json:
        print(json.dumps(asdict(done) | {"folder": str(done.folder)}, indent=2))
        return
    out = Console()
    columns = [("layer", False), ("was", False), ("is", False)]
    for line in aligned(
        columns, [(change.layer, change.before, change.after or "left out") for change in done.changes]
    ):
        say(out, line)
    for line in in_words(done):
        say(out, line)
    say(out, f"weights: {done.folder}")
    if html is not None:
        say(out, f"page: {html}")
