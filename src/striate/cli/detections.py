"""What ``striate predict`` finds in images."""

from typing import Any

from rich.console import Console

from striate.cli.asked import Asked
from striate.cli.sweeping import tell
from striate.cli.tables import say
from striate.data.names import MAX_PIXELS
from striate.jobs.detections import OUTPUT, DetectedThings, detect_images
from striate.jobs.judging_boxes import SURE
from striate.units import format_number


def detect(asked: Asked, score: float | None) -> None:
    """Draw what is in images, and print it."""
    records = detect_images(
        asked.run,
        asked.images,
        output=asked.output or OUTPUT,
        score=SURE if score is None else score,
        limit=asked.limit,
        skip_bad=asked.skip_bad,
        max_pixels=asked.max_pixels or MAX_PIXELS,
    )
    tell(asked, records, _document, _say)


def _document(record: DetectedThings) -> dict[str, Any]:
    things = record.things
    found: list[dict[str, Any]] = [
        {"class": things.names[label], "score": score, "box_xyxy": box}
        for label, score, box in zip(
            things.labels.tolist(), things.scores.tolist(), things.boxes_xyxy.tolist(), strict=True
        )
    ]
    for thing, mask in zip(found, record.masks() or (), strict=False):
        thing["mask"] = mask
    return {
        "source": record.source,
        "image_size": things.image_size,
        "things": found,
        "picture": str(record.picture),
    }


def _say(out: Console, record: DetectedThings, _document: dict[str, Any]) -> None:
    things = record.things
    say(out, f"{record.source}  {format_number(len(things), 'thing')}: {record.picture}")
    for label, score, box in zip(
        things.labels.tolist(), things.scores.tolist(), things.boxes_xyxy.tolist(), strict=True
    ):
        say(out, f"  {things.names[label]} {score:.0%}  at {', '.join(f'{edge:.0f}' for edge in box)}")
