"""What ``striate predict`` says of each pixel of images."""

from functools import partial
from typing import Any

from rich.console import Console

from striate.cli.asked import Asked
from striate.cli.sweeping import tell
from striate.cli.tables import say
from striate.jobs.masks import OUTPUT, Segmented, segment_images
from striate.units import format_bytes, format_number, format_size


def segment(asked: Asked) -> None:
    """Write the masks of images, and print what is in them."""
    records = segment_images(asked.run, asked.images, output=asked.output or OUTPUT, **asked.options)
    tell(asked, records, _document, partial(_say, asked.top))


def _document(record: Segmented) -> dict[str, Any]:
    return {
        "source": record.source,
        "image_size": record.size,
        "shares": record.shares,
        "mask": str(record.mask),
        "overlay": str(record.overlay),
        "parts": record.parts,
        "predicted_peak_bytes": record.peak,
    }


def _say(top: int, out: Console, record: Segmented, _document: dict[str, Any]) -> None:
    order = sorted(record.shares.items(), key=lambda each: -each[1])
    classes = "  ".join(f"{name} {share:.2%}" for name, share in order[:top] if share)
    say(out, f"{record.source}  {format_size(record.size)} pixels: {classes}")
    say(out, f"  mask: {record.mask}, over the image: {record.overlay}")
    if record.peak is not None:
        say(out, f"  in {format_number(record.parts, 'part')}, predicted to take {format_bytes(record.peak)} at most")
