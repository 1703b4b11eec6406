"""``striate predict``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from striate.jobs.usage import check_prediction


def predict(
    run: Annotated[Path, typer.Argument(help="folder of a run, or of weights with their config", show_default=False)],
    images: Annotated[
        list[str],
        typer.Argument(
            help="image files; or the data that the run was trained on, for the part that it has not seen",
            show_default=False,
        ),
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many images", show_default=False)] = None,
    top: Annotated[int, typer.Option(min=1, help="classes to show for each image")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Say what a trained network sees in images."""
    check_prediction(run, images)

    from rich.columns import Columns
    from rich.console import Console
    from rich.text import Text

    from striate.cli.tables import draw
    from striate.jobs.predict import predict as job

    found: list[dict[str, Any]] = []
    out = Console()
    for prediction in job(run, images, limit=limit):
        best = prediction.result.top(top)
        if as_json:
            found.append(
                {
                    "source": prediction.source,
                    "truth": prediction.truth,
                    "top": [{"class": n, "probability": p} for n, p in best],
                }
            )
            continue
        lines = [prediction.source, *(f"{share:7.2%}  {name}" for name, share in best)]
        if prediction.truth is not None:
            right = prediction.truth == prediction.result.name
            lines.append(f"truth: {prediction.truth} ({'right' if right else 'wrong'})")
        out.print(Columns([Text(draw(prediction.pixels)), Text("\n".join(lines))], padding=(0, 3)))
        out.print()
    if as_json:
        print(json.dumps({"run": str(run), "predictions": found}, indent=2))
