"""``striate models``."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from striate.jobs.models import find_models
from striate.units import format_size


def models(
    pattern: Annotated[str, typer.Argument(help="shell pattern of names", show_default=False)] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """List the networks of the zoo."""
    found = find_models(pattern)
    if as_json:
        print(json.dumps({"models": [asdict(entry) for entry in found]}, indent=2))
        return

    from rich.console import Console

    from striate.cli.tables import plain_table

    table = plain_table(
        None,
        [("name", False), ("parameters", True), ("classes", True), ("image", False), ("year", True), ("paper", False)],
    )
    for entry in found:
        size = f"{entry.in_chans}x{format_size(entry.image_size)}"
        table.add_row(entry.name, f"{entry.parameters:,}", str(entry.num_classes), size, str(entry.year), entry.paper)
    Console().print(table)
