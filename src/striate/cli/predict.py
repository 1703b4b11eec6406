"""``striate predict``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.allocator import return_freed_memory
from striate.cli.asked import Asked
from striate.data.names import MAX_PIXELS
from striate.errors import UsageError
from striate.jobs.questions import is_converted, task_of
from striate.jobs.usage import check_prediction

if TYPE_CHECKING:
    from rich.console import Console

    from striate.jobs.predict import Prediction


def predict(
    run: Annotated[Path, typer.Argument(help="folder of a run, or of weights with their config", show_default=False)],
    images: Annotated[
        list[str],
        typer.Argument(
            help="image files, folders of them, or - for standard input: an image, or names of files; or the data that "
            "the run was trained on, for the part that it has not seen",
            show_default=False,
        ),
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many images", show_default=False)] = None,
    top: Annotated[int, typer.Option(min=1, help="classes to show for each image")] = 3,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="pass over images that cannot be read")] = False,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help=f"an image of more is refused; {MAX_PIXELS:,} by default")
    ] = None,
    draw: Annotated[bool, typer.Option("--draw", help="draw each image, too")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
    as_lines: Annotated[bool, typer.Option("--jsonl", help="a line of JSON for each image, as it comes")] = False,
    heatmap: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="paint where each image shows that class", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="for what is painted; heatmaps, masks or detections by default"
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="with --heatmap, or for masks: pixels of the shorter side; its own by default",
            show_default=False,
        ),
    ] = None,
    score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="of what is found: at least so sure; 0.5 by default", show_default=False),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="with --heatmap, or for masks: bytes that an image may take, such as 500MB", show_default=False
        ),
    ] = None,
) -> None:
    """Say what a trained network sees in images; with --heatmap, where in images of any size.

    For a network that says a class for each pixel, write masks of images of any size; for one that finds things, draw
    them.
    """
    check_prediction(run, images)
    if as_json + as_lines + draw > 1:
        raise UsageError(
            expected="one of --json, --jsonl and --draw", received="more", remedy="Choose one way to see predictions."
        )
    task = task_of(run)
    if task != "detect":
        _expect_none(score is not None, "--score", "no --score but for a network that finds things")
    if heatmap is not None or task in ("segment", "detect") or is_converted(run):
        asked = Asked(
            run=run,
            images=images,
            output=output,
            image_size=image_size,
            memory=memory,
            limit=limit,
            skip_bad=skip_bad,
            max_pixels=max_pixels,
            top=top,
            as_json=as_json,
            as_lines=as_lines,
        )
        if memory is not None:
            return_freed_memory()
        if heatmap is None and task == "segment":
            _expect_none(draw, "--draw", "--json, --jsonl, or none, where each pixel has its own answer")
            from striate.cli.masks import segment

            segment(asked)
        elif heatmap is None and task == "detect":
            for flag, given in (
                ("--draw", draw),
                ("--image-size", image_size is not None),
                ("--memory", memory is not None),
            ):
                _expect_none(given, flag, f"no {flag} for a network that finds things, at the size of its training")
            from striate.cli.detections import detect

            detect(asked, score)
        else:
            expected = "--json, or none, where each image has many answers"
            _expect_none(draw, "--draw", expected)
            _expect_none(as_lines, "--jsonl", expected)
            from striate.cli.heatmap import map_images

            map_images(asked, heatmap)
        return
    for flag, value in (("--output", output), ("--image-size", image_size), ("--memory", memory)):
        if value is not None:
            raise UsageError(
                expected=f"{flag} with --heatmap CLASS, or with a network for any size of image",
                received="it without",
                remedy="A classifier scales each image to the size that it was trained on.",
            )

    from rich.console import Console

    from striate.cli.tables import say
    from striate.jobs.predict import Skipped
    from striate.jobs.predict import predict as job

    found: list[dict[str, Any]] = []
    skipped, out, err = 0, Console(), Console(stderr=True)
    for prediction in job(run, images, limit=limit, skip_bad=skip_bad, max_pixels=max_pixels or MAX_PIXELS):
        if isinstance(prediction, Skipped):
            skipped += 1
            say(err, f"passed over {prediction.source}: {prediction.reason}")
        elif as_json:
            found.append(_document(prediction, top))
        elif as_lines:
            print(json.dumps(_document(prediction, top)), flush=True)
        elif draw:
            _draw(out, prediction, top)
        else:
            say(out, "  ".join([prediction.source, *_said(prediction, top)]))
    if as_json:
        print(json.dumps({"run": str(run), "predictions": found, "skipped": skipped}, indent=2))
    if skipped:
        say(err, f"{skipped:,} passed over")


def _expect_none(given: bool, flag: str, expected: str) -> None:
    if given:
        raise UsageError(expected=expected, received=flag, remedy="Leave it out.")


def _said(prediction: "Prediction", top: int) -> list[str]:
    from striate.results import Number

    result, truth = prediction.result, prediction.truth
    if isinstance(result, Number):
        return [f"{result.value:.6g}", *([] if truth is None else [f"(truth: {truth:.6g})"])]
    said = [f"{name} {share:.2%}" for name, share in result.top(top)]
    if truth is not None:
        said.append(f"(truth: {truth}, {'right' if truth == result.name else 'wrong'})")
    return said


def _document(prediction: "Prediction", top: int) -> dict[str, Any]:
    from striate.results import Number

    document: dict[str, Any] = {"source": prediction.source, "truth": prediction.truth}
    if isinstance(prediction.result, Number):
        return document | {"number": prediction.result.value}
    return document | {"top": [{"class": name, "probability": share} for name, share in prediction.result.top(top)]}


def _draw(out: "Console", prediction: "Prediction", top: int) -> None:
    from rich.columns import Columns
    from rich.text import Text

    from striate.cli.tables import draw

    lines = "\n".join([prediction.source, *_said(prediction, top)])
    out.print(Columns([Text(draw(prediction.thumbnail)), Text(lines)], padding=(0, 3)))
    out.print()
