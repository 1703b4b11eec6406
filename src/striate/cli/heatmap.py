"""What ``striate predict`` says of images at each place of them."""

from pathlib import Path
from typing import Any

from rich.console import Console

from striate.cli.asked import Asked
from striate.cli.sweeping import tell
from striate.cli.tables import say
from striate.errors import UsageError
from striate.files import unlike
from striate.jobs.maps import Mapped, map_classes
from striate.jobs.questions import check_map, expect_class
from striate.reporting.heatmaps import paint
from striate.reporting.pictures import write_png
from striate.units import format_bytes, format_number, format_size

TOO_LARGE = 2.5  # Times a window, of an image's shorter side: one thing fills more than a window then.


def map_images(asked: Asked, heatmap: str | None) -> None:
    """Print what a network sees in images, and where ``heatmap`` is in them, if a class is named."""
    check_map(asked.run, asked.images, asked.limit)
    if heatmap is not None:
        expect_class(asked.run, heatmap)
    elif asked.output is not None:
        raise UsageError(
            expected="--output with --heatmap CLASS, which says what to paint", received="it without", remedy="Add it."
        )
    painted = set[str]()

    def document(record: Mapped) -> dict[str, Any]:
        folder = asked.output or Path("heatmaps")
        path = None if heatmap is None else _paint(record, heatmap, folder, painted)
        return _document(record, heatmap, path, asked.top)

    tell(asked, map_classes(asked.run, asked.images, **asked.options), document, _say)


def _paint(record: Mapped, name: str, folder: Path, painted: set[str]) -> Path:
    """Write a picture; of files of one name, each has its own."""
    path = folder / f"{unlike(f'{Path(record.source).stem}-{name}', painted)}.png"
    write_png(path, paint(record.image, record.result, name))
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
    if min(result.image_size) > TOO_LARGE * max(result.window):
        say(
            out,
            "  note: things should be about as large as in training, whose images had "
            f"{format_size(result.window)} pixels: try --image-size {2 * max(result.window)}",
        )
    if document["heatmap"] is not None:
        say(out, f"  painted: {document['heatmap']}")
    if record.peak is not None:
        say(out, f"  in {format_number(record.parts, 'part')}, predicted to take {format_bytes(record.peak)} at most")
