"""What became of a classifier's dense layers, in words and on a page."""

from pathlib import Path

from striate.jobs.convert import Converted
from striate.reporting.page import Page
from striate.units import format_size

FEW = 4


def in_words(done: Converted) -> list[str]:
    """Say what a converted network does, how far it is from the classifier slid over an image, and why."""
    window, (down, across) = format_size(done.window), done.stride
    slid = done.slid
    why = []
    if done.padded:
        why.append(
            f"{len(done.padded)} layers pad their maps ({_some(done.padded)}): a window that is cut out has zeros "
            "around it, where inside the image it has the image."
        )
    if done.whole:
        why.append(
            f"{len(done.whole)} layers look at the whole image ({_some(done.whole)}): for a window that is cut out, "
            "that is the window."
        )
    if not why:
        why.append("No layer pads its maps or looks beyond its window.")
    return [
        f"It answers for each window of {window} pixels, {down} pixels apart down and {across} across; on images of "
        f"{window} it equals the classifier to {done.difference:.1e} of the largest logit.",
        f"On {slid.windows:,} windows of larger images, probabilities differ from those of the classifier slid over "
        f"them by {slid.mean:.2g} in the mean and {slid.furthest:.2g} at most; {slid.same:.1%} of the windows have the "
        "same class.",
        *why,
    ]


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")


def write_converted_page(path: Path, run: str, done: Converted) -> None:
    """Write what became of a classifier as one page."""
    lead, *rest = in_words(done)
    page = Page(f"{run} without dense layers", lead)
    page.heading("What became of its layers")
    page.table(
        ["layer", "was", "is"], [(change.layer, change.before, change.after or "left out") for change in done.changes]
    )
    page.heading("How far it is from the classifier slid over an image, and why")
    for line in rest:
        page.text(line)
    for title, layers in (("Layers that pad", done.padded), ("Layers that look at the whole image", done.whole)):
        if layers:
            page.heading(title)
            page.text(", ".join(layers))
    page.write(path)
