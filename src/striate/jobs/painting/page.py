"""A painted picture in words and on a page: beside its content and style, with its losses and what it is worth."""

from collections.abc import Sequence
from pathlib import Path

from striate.data.images import read_image
from striate.jobs.painting.easel import Worth
from striate.jobs.painting.stylizing import StyleStep, Stylized
from striate.reporting.figures import lines
from striate.reporting.page import Page
from striate.units import format_bytes, format_duration, format_size

SHOWN = 512  # Pixels of the longer side.
NAMES = {"painted": "the picture", "blend": "half of each", "content": "the content", "style": "the style"}


def in_words(done: Stylized) -> list[str]:
    """Say what was painted, and how far it is from content and style."""
    painted, blend = done.worth.painted, done.worth.blend
    peak = "" if done.peak is None else f", predicted to take {format_bytes(done.peak)} at most"
    return [
        f"{done.path}: {format_size(done.size)} pixels, took {format_duration(done.seconds)}{peak}",
        "on maps that it was not painted by, squares of differences over squares: "
        f"{painted.content:.3f} from the content, {painted.style:.3f} from the style; "
        f"half of each blended: {blend.content:.3f}, {blend.style:.3f}",
        _verdict(done.worth),
    ]


def _verdict(worth: Worth) -> str:
    """Say whether a picture is better than what one gets without a network, and what to do where it is not."""
    better = {what: getattr(worth.painted, what) < getattr(worth.blend, what) for what in ("content", "style")}
    if all(better.values()):
        return "that is nearer to both than half of each blended"
    remedies = {"content": "a smaller --style-weight", "style": "more --steps, a larger --image-size or --style-weight"}
    worse = [what for what, is_better in better.items() if not is_better]
    return (
        f"that is no nearer to the {' and the '.join(worse)} than half of each blended; "
        f"what may help: {'; '.join(remedies[what] for what in worse)}"
    )


def write_stylized_page(path: Path, content: Path, style: Path, done: Stylized, course: Sequence[StyleStep]) -> None:
    """Write a page about a picture.

    Args:
        path: of the page.
        content: the image that says what is shown.
        style: the image in whose style.
        done: the picture.
        course: its steps, those of an earlier call left out.
    """
    page = Page(f"{content.name} in the style of {style.name}", in_words(done)[0])
    shown = ((content, "content"), (style, "style"), (done.path, "the picture"))
    page.pictures([(read_image(each, 3).thumbnail(SHOWN), name) for each, name in shown])
    if course:
        page.heading("Losses")
        losses = {
            name: [(float(step.done), value) for step in course if (value := getattr(step.losses, name)) > 0]
            for name in ("content", "style", "variation")
        }
        page.figure(lines(losses, "step", "loss", log=True))
        page.text("Where the picture becomes larger, it has new detail to find.")
    page.heading("How far it is from both")
    page.text(
        "On maps of the network that it was not painted by: the squares of the differences over the squares of what is "
        "aimed at, for the content of the last of them, for the style of the Gram matrices of all."
    )
    rows = [(words, *getattr(done.worth, name)) for name, words in NAMES.items()]
    page.table(["", "from the content", "from the style"], rows)
    page.write(path)
