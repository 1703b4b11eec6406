"""What ``striate predict`` says of each pixel of images."""

import json
from typing import Any

from rich.console import Console

from striate.cli.asked import Asked
from striate.cli.bars import bars, show_counted
from striate.cli.tables import say
from striate.jobs.masks import OUTPUT, Segmented, segment_images
from striate.jobs.predict import Skipped
from striate.jobs.sweeps import Sweeping
from striate.units import format_bytes, format_number, format_size


def segment(asked: Asked) -> None:
    """Write the masks of images, and print what is in them."""
    out, err = Console(), Console(stderr=True)
    found: list[dict[str, Any]] = []
    skipped = 0
    with bars(err) as progress:
        bar = progress.add_task("", total=None, visible=False, state="")
        for record in segment_images(asked.run, asked.images, output=asked.output or OUTPUT, **asked.options):
            match record:
                case Sweeping():
                    show_counted(progress, bar, record)
                case Skipped():
                    skipped += 1
                    say(err, f"passed over {record.source}: {record.reason}")
                case Segmented():
                    progress.update(bar, visible=False)
                    if asked.as_json:
                        found.append(_document(record))
                    elif asked.as_lines:
                        print(json.dumps(_document(record)), flush=True)
                    else:
                        _say(out, record, asked.top)
    if asked.as_json:
        print(json.dumps({"run": str(asked.run), "predictions": found, "skipped": skipped}, indent=2))
    if skipped:
        say(err, f"{skipped:,} passed over")


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


def _say(out: Console, record: Segmented, top: int) -> None:
    order = sorted(record.shares.items(), key=lambda each: -each[1])
    classes = "  ".join(f"{name} {share:.2%}" for name, share in order[:top] if share)
    say(out, f"{record.source}  {format_size(record.size)} pixels: {classes}")
    say(out, f"  mask: {record.mask}, over the image: {record.overlay}")
    if record.peak is not None:
        say(out, f"  in {format_number(record.parts, 'part')}, predicted to take {format_bytes(record.peak)} at most")
