"""What ``striate predict`` says of images at each place of them."""

import json
from collections.abc import Collection, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from striate.cli.progress import bars, show_counted
from striate.cli.tables import say
from striate.errors import UsageError
from striate.files import replace_file
from striate.jobs.maps import Mapped, Sweeping, map_classes
from striate.jobs.predict import Skipped
from striate.jobs.usage import check_map, expect_class
from striate.reporting.heatmaps import paint
from striate.units import format_bytes, format_size


def map_images(
    run: Path,
    images: Sequence[str],
    heatmap: str | None,
    output: Path | None,
    image_size: int | None,
    memory: str | None,
    limit: int | None,
    skip_bad: bool,
    max_pixels: int,
    top: int,
    as_json: bool,
) -> None:
    """Print what a network sees in images, and where; arguments are the verb's."""
    check_map(run, images, limit)
    if heatmap is not None:
        expect_class(run, heatmap)
    elif output is not None:
        raise UsageError(
            expected="--output with --heatmap CLASS, which says what to paint", received="it without", remedy="Add it."
        )
    out, err = Console(), Console(stderr=True)
    found: list[dict[str, Any]] = []
    skipped, painted = 0, set[Path]()
    with bars(err) as progress:
        bar = progress.add_task("", total=None, visible=False, state="")
        for record in map_classes(
            run,
            images,
            image_size=image_size,
            memory=memory,
            limit=limit,
            skip_bad=skip_bad,
            max_pixels=max_pixels,
        ):
            match record:
                case Sweeping():
                    show_counted(progress, bar, record)
                case Skipped():
                    skipped += 1
                    say(err, f"passed over {record.source}: {record.reason}")
                case Mapped():
                    progress.update(bar, visible=False)
                    path = None
                    if heatmap is not None:
                        path = _paint(record, heatmap, output or Path("heatmaps"), painted)
                        painted.add(path)
                    document = _document(record, heatmap, path, top)
                    found.append(document)
                    if not as_json:
                        _say(out, record, document)
    if as_json:
        print(json.dumps({"run": str(run), "predictions": found, "skipped": skipped}, indent=2))
    if skipped:
        say(err, f"{skipped:,} passed over")


def _paint(record: Mapped, name: str, folder: Path, painted: Collection[Path]) -> Path:
    """Write a picture; of files of one name, each has its own."""
    picture = Image.fromarray(paint(record.image, record.result, name))
    stem = f"{Path(record.source).stem}-{name}"
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem)
    names = (folder / f"{safe}{f'-{number}' if number > 1 else ''}.png" for number in count(1))
    path = next(path for path in names if path not in painted)
    replace_file(path, lambda beside: picture.save(beside, format="PNG"))
    return path


def _document(record: Mapped, heatmap: str | None, path: Path | None, top: int) -> dict[str, Any]:
    result = record.result
    names = [heatmap] if heatmap is not None else [name for name, _ in result.overall.top(top)]
    strongest = []
    for name in names:
        share, (row, column) = result.strongest(name)
        box = [column, row, column + result.window[1], row + result.window[0]]
        strongest.append({"class": name, "probability": share, "xyxy": box})
    return {
        "source": record.source,
        "image_size": result.image_size,
        "window": result.window,
        "stride": result.stride,
        "places": result.probabilities.shape[1:],
        "parts": record.parts,
        "predicted_peak_bytes": record.peak,
        "mean": [{"class": name, "probability": share} for name, share in result.overall.top(top)],
        "strongest": strongest,
        "heatmap": None if path is None else str(path),
    }


def _say(out: Console, record: Mapped, document: dict[str, Any]) -> None:
    result = record.result
    places = format_size((result.probabilities.shape[1], result.probabilities.shape[2]))
    mean = "  ".join(f"{each['class']} {each['probability']:.2%}" for each in document["mean"])
    say(out, f"{record.source}  {format_size(result.image_size)} pixels, {places} windows, their mean: {mean}")
    for each in document["strongest"]:
        left, upper, right, lower = each["xyxy"]
        say(
            out, f"  {each['class']} at most {each['probability']:.2%}, in rows {upper}-{lower}, columns {left}-{right}"
        )
    if document["heatmap"] is not None:
        say(out, f"  painted: {document['heatmap']}")
    if record.peak is not None:
        say(out, f"  in {record.parts} parts, predicted to take {format_bytes(record.peak)} at most")
