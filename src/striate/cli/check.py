"""``striate check``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.data.names import MAX_PIXELS, BoxOptions, find_data
from striate.jobs.usage import check_page, mask_options
from striate.training.config import TaskName

if TYPE_CHECKING:
    from rich.console import Console

    from striate.jobs.check import Checked


def check(
    data: Annotated[str, typer.Argument(help="folder of images by class, or a CSV table", show_default=False)],
    workers: Annotated[int, typer.Option("-j", "--workers", min=0, help="processes that read images")] = 2,
    max_pixels: Annotated[int, typer.Option(min=1, help="an image of more is not decoded")] = MAX_PIXELS,
    task: Annotated[
        TaskName | None,
        typer.Option(help="segment: images with masks; detect: with boxes; found out otherwise", show_default=False),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="of masks: names and colours; classes.txt in DATA", show_default=False),
    ] = None,
    ignore: Annotated[str, typer.Option(help="of masks: number or name of what is not known, or none")] = "255",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write all of it as one page", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Look at every file of a data set, and say what to mend before training on it; exit with 1 if there is something.

    To mend: files that are no images, images that are there under two labels or in two parts, classes without images or
    of one part alone; masks of another size than their images, or with numbers that are no classes; boxes that end
    before they begin or lie outside of their images, and images that are named and not there.
    """
    masks = mask_options(task, classes, ignore.split(","))
    find_data(data)
    check_page(html)

    from rich.console import Console

    from striate.cli.bars import to_the_end
    from striate.data.reading import Reading
    from striate.jobs.check import Checked, write_check_page
    from striate.jobs.check import check as job

    boxes = BoxOptions() if task == "detect" else None
    reading = Reading(max_pixels=max_pixels, workers=workers, masks=masks, boxes=boxes)
    found = to_the_end(job(data, reading), Checked)
    if html is not None:
        write_check_page(html, found, max_pixels)
    if as_json:
        print(json.dumps(_document(found), indent=2))
    else:
        _print(Console(), found)
        if html is not None:
            print(f"page: {html}")
    if found.severe:
        raise typer.Exit(1)


def _document(found: "Checked") -> dict[str, Any]:
    return {
        "data": str(found.listing.root),
        "images": len(found.files),
        "wrong": found.severe > 0,
        "findings": [
            {
                "kind": finding.kind,
                "severe": finding.severe,
                "text": finding.text,
                "files": [str(file.item.path) for file in finding.files],
            }
            for finding in found.findings
        ],
        "classes": [
            {"split": part, "class": name, found.counted: found.counts[part, name]}
            for part, names in found.classes.items()
            for name in names
        ],
        "sizes": {
            name: dict(zip(("smallest", "middle", "largest"), row, strict=True)) for name, row in found.sizes.items()
        },
        **found.facts,
    }


def _print(out: "Console", found: "Checked") -> None:
    from striate.cli.tables import fill, plain_table, say
    from striate.jobs.check import NOTHING

    listing = found.listing
    parts = list(listing.parts)
    if found.classes:
        things = "" if found.counted == "images" else found.counted
        heads = [f"{part} {things}".strip() or found.counted for part in parts]
        table = plain_table(None, [("class", False), *((head, True) for head in heads)])
        for name in dict.fromkeys(name for names in found.classes.values() for name in names):
            fill(table, name, *(f"{found.counts[part, name]:,}" for part in parts))
        out.print(table)
    else:
        say(out, ", ".join(f"{len(listing.of(part)):,} images {part}".strip() for part in parts))
    for name, row in found.sizes.items():
        say(out, f"{name}: {row[0]:,} to {row[2]:,}, half of them up to {row[1]:,}")
    for name, counts in found.facts.items():
        say(out, f"{name}: {', '.join(f'{value} {count:,}' for value, count in counts.items())}")
    for finding in found.findings:
        say(out, f"{'MEND' if finding.severe else 'note'}  {finding.kind}: {finding.text}")
    say(out, f"{found.severe:,} to mend before training" if found.severe else NOTHING)
