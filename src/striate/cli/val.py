"""``striate val``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.data.names import MAX_PIXELS
from striate.jobs.usage import check_page, check_val

if TYPE_CHECKING:
    from striate.jobs.val import Validated


def val(
    run: Annotated[Path, typer.Argument(help="folder of a run, or of weights with their config", show_default=False)],
    data: Annotated[
        str | None,
        typer.Argument(help="images with their classes, as train takes them; the run's own by default"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test; the part that the run has not seen by default", show_default=False),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "-b", "--batch-size", min=1, help="images at once; 32, or 4 where things are found", show_default=False
        ),
    ] = None,
    workers: Annotated[int, typer.Option("-j", "--workers", min=0, help="processes that read images")] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave out files that are no images")] = False,
    max_pixels: Annotated[int, typer.Option(min=1, help="an image of more is refused")] = MAX_PIXELS,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="of masks: names and colours; classes.txt in DATA", show_default=False),
    ] = None,
    ignore: Annotated[
        str | None, typer.Option(help="of masks: number or name of what is not known, or none", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write all of it as one page", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Say what a trained network is worth: accuracy, by class, confusion, and whether it is as right as it is sure.

    Of a network for each pixel, how far its masks overlap with the true ones; of one that finds things, the average
    precision of its boxes and masks.
    """
    masks = check_val(run, data, split, classes, ignore)
    check_page(html)

    from rich.console import Console

    from striate.cli.bars import to_the_end
    from striate.data.reading import Reading
    from striate.jobs.val import Validated, write_val_page
    from striate.jobs.val import val as job

    reading = Reading(skip_bad, max_pixels, workers, masks)
    found = to_the_end(job(run, data, split=split, batch_size=batch_size, reading=reading), Validated)
    if html is not None:
        write_val_page(html, str(run), found)
    if as_json:
        print(json.dumps(_document(run, found), indent=2))
    else:
        _print(Console(), found)
        if html is not None:
            print(f"page: {html}")


def _document(run: Path, found: "Validated") -> dict[str, Any]:
    from striate.jobs.judging import Judged

    judged = found.judged
    document = {
        "run": str(run),
        "data": found.data,
        "split": found.part,
        "images": len(judged.images),
        "seen": found.seen,
        "metrics": dict(judged.metrics),
        "classes": [asdict(each) for each in judged.classes],
    }
    if isinstance(judged, Judged):
        document |= {"confusion": judged.confusion, "calibration": [asdict(each) for each in judged.calibration]}
    return document


def _print(out: Any, found: "Validated") -> None:
    from striate.cli.tables import fill, plain_table, say
    from striate.jobs.judged_boxes_page import class_rows
    from striate.jobs.judged_masks_page import share
    from striate.jobs.judged_page import in_words, metrics_in_words
    from striate.jobs.judging_boxes import JudgedBoxes
    from striate.jobs.judging_masks import JudgedMasks
    from striate.jobs.val import seen_in_words

    judged = found.judged
    say(out, in_words(judged, found.part))
    say(out, metrics_in_words(judged.metrics))
    if found.seen:
        say(out, f"note: {seen_in_words(found)}")
    if isinstance(judged, JudgedMasks):
        columns = ("class", "pixels", "IoU", "near borders", "precision", "recall")
        table = plain_table(None, [(name, name != "class") for name in columns])
        for one in judged.classes:
            known = (one.iou, one.trimap_iou, one.precision, one.recall)
            fill(table, one.name, f"{one.pixels:,}", *map(share, known))
        out.print(table)
        return
    if isinstance(judged, JudgedBoxes):
        headings, rows = class_rows(judged)
        table = plain_table(None, [(name, name != "class") for name in headings])
        for row in rows:
            fill(table, *map(str, row))
        out.print(table)
        return
    if not judged.classes:
        return
    table = plain_table(None, [("class", False), ("images", True), ("precision", True), ("recall", True)])
    for each in judged.classes:
        shares = ("" if share is None else f"{share:.2%}" for share in (each.precision, each.recall))
        fill(table, each.name, f"{each.images:,}", *shares)
    out.print(table)
    names = [each.name for each in judged.classes]
    mistakes = sorted(
        (
            (count, names[true], names[said])
            for true, row in enumerate(judged.confusion)
            for said, count in enumerate(row)
            if count and true != said
        ),
        reverse=True,
    )
    for count, true, said in mistakes[:10]:
        say(out, f"{count:,} of {true} taken for {said}")
