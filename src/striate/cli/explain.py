"""``striate explain``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.errors import UsageError
from striate.jobs.networks import check_network
from striate.jobs.usage import check_folder, check_page, parse_size

if TYPE_CHECKING:
    from striate.jobs.explaining import Explained


def explain(
    model: Annotated[
        str,
        typer.Argument(
            help="a run folder, a network of the zoo, file.py:callable or package.module:callable", show_default=False
        ),
    ],
    image: Annotated[Path, typer.Argument(help="an image file", show_default=False)],
    label: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="to explain: its name, or its number from 0; the most probable by default",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layer", help="to look at, by its name; again for others; one of each size by default", show_default=False
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="LAYER:NUMBER", help="find what it answers to most, with --images", show_default=False
        ),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="folder of images, for --filter", show_default=False)] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="weights of a network of the zoo: a file, a folder or hub", show_default=False)
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(help="side or HEIGHTxWIDTH; the network's own by default", show_default=False)
    ] = None,
    mean: Annotated[
        float | None, typer.Option(help="of the levels, from 0 to 1; the network's own by default", show_default=False)
    ] = None,
    std: Annotated[float | None, typer.Option(help="their standard deviation, likewise", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="of fresh weights, and of orders of chance")] = 0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write all of it as one page", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="write each picture", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Show what a network makes of one image: its maps, what its units see, and what speaks for the class it says."""
    check_network(model)
    size = parse_size(image_size)
    check_page(html)
    check_folder(output)
    chosen = _parse_filter(channel)

    from rich.console import Console

    from striate.cli.bars import to_the_end
    from striate.cli.tables import say
    from striate.jobs.explained_page import in_words, write_explained_page, write_pictures
    from striate.jobs.explaining import Explained
    from striate.jobs.explaining import explain as job

    records = job(
        model,
        image,
        label=label,
        layers=layers or (),
        channel=chosen,
        images=images,
        pretrained=pretrained,
        image_size=size,
        mean=mean,
        std=std,
        seed=seed,
    )
    found = to_the_end(records, Explained)
    if html is not None:
        write_explained_page(html, found)
    written = 0 if output is None else write_pictures(output, found)
    if as_json:
        print(json.dumps(document(found), indent=2))
        return
    out = Console()
    for line in in_words(found):
        say(out, line)
    if html is not None:
        say(out, f"page: {html}")
    if output is not None:
        say(out, f"{written:,} pictures: {output}")


def _parse_filter(text: str | None) -> tuple[str, int] | None:
    """Read a layer's name and the number of a filter."""
    if text is None:
        return None
    layer, sign, number = text.rpartition(":")
    if not sign or not number.isdecimal():
        raise UsageError(
            expected="--filter as a layer's name and a number, such as features.3:12",
            received=repr(text),
            remedy="Numbers begin with 0.",
        )
    return layer, int(number)


def document(found: "Explained") -> dict[str, Any]:
    """Return all numbers, as --json prints them."""
    result = found.result
    return {
        "model": found.model,
        "source": found.source,
        "trained": found.is_trained,
        "backbone": found.is_backbone,
        "classes": None if result is None else dict(zip(result.names, result.probabilities, strict=True)),
        "explained": found.label,
        "why": [{"way": each.way, "curve": each.curve, "area": each.area} for each in found.why],
        "chance": {"curves": found.chance, "areas": found.chance_areas} if found.chance else None,
        "layers": [
            {
                "layer": layer.name,
                "kind": layer.kind,
                "shape": layer.shape,
                "strongest": layer.strongest,
                "most_different": layer.different,
                "unit": layer.unit,
                "rows": layer.rows,
                "columns": layer.columns,
                "effective_side": layer.effective,
            }
            for layer in found.layers
        ],
        "answers": None
        if found.answers is None
        else [{"source": each.source, "value": each.value, "unit": each.unit} for each in found.answers.strongest],
    }
