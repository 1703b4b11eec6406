"""``striate models``."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from striate.jobs.models import find_models
from striate.units import format_count, format_size


def models(
    pattern: Annotated[str, typer.Argument(help="shell pattern of names", show_default=False)] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """List the networks of the zoo.

    Weights at hand are what lies in the folder STRIATE_WEIGHTS, or ~/.cache/striate/weights: folders of weights, and
    safetensors files with as many parameters as the network.
    """
    found = find_models(pattern)
    if as_json:
        rows = [asdict(listed.entry) | {"weights": [str(path) for path in listed.weights]} for listed in found.models]
        print(json.dumps({"models": rows}, indent=2))
        return

    from rich.console import Console

    from striate.cli.tables import aligned, say

    columns = [("name", False), ("paper", False), ("parameters", True), ("MACs", True), ("image", False)]
    lines: list[list[str]] = []
    for listed in found.models:
        entry = listed.entry
        lines.append(
            [
                entry.name,
                f"{entry.authors} {entry.year}",
                f"{entry.parameters:,}",
                format_count(entry.macs),
                f"{entry.in_chans}x{format_size(entry.image_size)}",
                "at hand" if listed.weights else "-",
            ]
        )
    console = Console()
    for line in aligned([*columns, ("weights", False)], lines):
        say(console, line)
    say(console, "MACs: multiply-adds of the convolutions and dense layers for one image of that size.")
    files = [path.name for listed in found.models for path in listed.weights]
    say(console, f"Weights at hand in {found.folder}: {', '.join(files) or 'none'}.")
