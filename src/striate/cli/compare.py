"""``striate compare``: experiments that set ways of doing one thing beside each other, a function for each."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from striate.cli.experiments import register
from striate.data.names import find_data
from striate.jobs.usage import check_page
from striate.training.config import read_config

if TYPE_CHECKING:
    from striate.jobs.comparing_proposals import ComparedProposals

experiments = typer.Typer(
    help="Set ways of doing one thing beside each other: detectors and proposals on your own images, the rest on "
    "small ones that are at hand.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


register(experiments)


@experiments.command("detectors", no_args_is_help=True)
def detectors(
    data: Annotated[str, typer.Option(help="images with boxes, as train takes them", show_default=False)],
    only: Annotated[
        list[str] | None,
        typer.Option(help="rcnn, fast_rcnn, faster_rcnn, yolo or yolov3; may be given again", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="YAML file of training flags, over each one's recipe", show_default=False),
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="weights of the backbone: a file, a folder or hub", show_default=False)
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of the images; 384x512 by default", show_default=False)
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="that are timed, one by one")] = 10,
    workers: Annotated[int, typer.Option("-j", "--workers", min=0, help="processes that prepare images")] = 2,
    output: Annotated[Path, typer.Option(help="folder of the runs; what is trained there stays so")] = Path(
        "runs/compare/detectors"
    ),
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write all of it as one page", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Train R-CNN, Fast R-CNN, Faster R-CNN and two YOLOs on the same images; say how right, fast and large each is.

    All stand on the same backbone. Killed at any moment, the same command goes on. What searches found is kept in
    STRIATE_PROPOSALS, or striate/proposals in the user's cache.
    """
    find_data(data)
    check_page(html)
    given = {"pretrained": pretrained, "image_size": image_size, "workers": workers}
    settings = {**(read_config(config) if config else {}), **{k: v for k, v in given.items() if v is not None}}

    from rich.console import Console

    from striate.cli.bars import to_the_end
    from striate.cli.progress import show_training
    from striate.cli.tables import aligned, say
    from striate.jobs.compared_detectors_page import HEADINGS, in_words, rows_of, write_compared_detectors_page
    from striate.jobs.comparing_detectors import (
        ComparedDetectors,
        compare_trained,
        expect_own,
        planned_runs,
        run_one,
    )

    err = Console(stderr=True)
    runs = planned_runs(data, only or (), settings, output)
    show_training(expect_own(runs), err, err)
    for run in runs:
        show_training(run_one(run), err, err)
    found = to_the_end(compare_trained(runs, images), ComparedDetectors)
    if html is not None:
        write_compared_detectors_page(html, found)
    if as_json:
        worth = [{**asdict(each), "seconds": each.seconds._asdict()} for each in found.worth]
        print(json.dumps({**asdict(found), "worth": worth}, indent=2))
        return
    out = Console()
    say(out, in_words(found))
    for line in aligned([(heading, heading != "network") for heading in HEADINGS], rows_of(found)):
        say(out, line)
    if html is not None:
        print(f"page: {html}")


@experiments.command("proposals", no_args_is_help=True)
def proposals(
    data: Annotated[str, typer.Option(help="images with boxes, as train takes them", show_default=False)],
    only: Annotated[
        Literal["fast", "quality"] | None,
        typer.Option(help="one mode of the search; both by default", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="at most so many images, spread over all", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option("-j", "--workers", min=0, help="processes that search images")] = 2,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write all of it as one page", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Say how many of the things in images lie in the first 10 to 2,000 boxes of selective search, and what it takes.

    What was searched is kept in STRIATE_PROPOSALS, or striate/proposals in the user's cache.
    """
    find_data(data)
    check_page(html)

    from rich.console import Console

    from striate.cli.bars import to_the_end
    from striate.jobs.comparing_proposals import (
        MODES,
        ComparedProposals,
        compare_proposals,
        write_compared_proposals_page,
    )

    records = compare_proposals(data, (only,) if only else MODES, limit=limit, workers=workers)
    found = to_the_end(records, ComparedProposals)
    if html is not None:
        write_compared_proposals_page(html, found)
    if as_json:
        print(json.dumps(_document(found), indent=2))
    else:
        _print(Console(), found)
        if html is not None:
            print(f"page: {html}")


def _document(found: "ComparedProposals") -> dict[str, Any]:
    from striate.jobs.comparing_proposals import COUNTS, RIGHT

    return {
        "data": found.data,
        "images": found.images,
        "things": found.things,
        "overlap": RIGHT,
        "modes": [
            {
                "mode": each.mode,
                "proposals_per_image": each.proposals,
                "seconds_per_image": each.seconds,
                "searched": each.searched,
                "stored_bytes": each.stored,
                "first": [
                    {"proposals": count, "recall": share, "mabo": overlap}
                    for count, share, overlap in zip(COUNTS, each.recall, each.mabo, strict=True)
                ],
            }
            for each in found.modes
        ],
    }


def _print(out: Any, found: "ComparedProposals") -> None:
    from striate.cli.tables import aligned, say
    from striate.jobs.comparing_proposals import cost_rows, in_words, worth_rows

    say(out, in_words(found))
    for headings, rows in (worth_rows(found), cost_rows(found)):
        for line in aligned([(heading, heading != "mode") for heading in headings], rows):
            say(out, line)
