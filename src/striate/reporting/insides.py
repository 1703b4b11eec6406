"""What is inside a network, as pictures."""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw

from striate.reporting.heatmaps import lay_over
from striate.shapes import Span

THEORY, PRACTICE = (86, 180, 233), (240, 228, 66)  # Frames of what could matter, and of what does.


def draw_map(values: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 1"]:
    """Return one of a layer's maps in grey, its least value black and its largest white."""
    least, most = float(values.min()), float(values.max())
    drawn: UInt8[np.ndarray, "h w 1"] = _bytes((values - least) / max(most - least, 1e-12))[:, :, None]
    return drawn


def draw_filter(weights: Float32[np.ndarray, "I kh kw"]) -> UInt8[np.ndarray, "kh kw c"]:
    """Return a filter, of colour where it sees three channels: middle grey is 0.

    Of other numbers of channels the mean is drawn.
    """
    shown = weights if len(weights) == 3 else weights.mean(0, keepdims=True)
    drawn: UInt8[np.ndarray, "kh kw c"] = _bytes(0.5 + shown / max(2 * float(np.abs(shown).max()), 1e-12))
    return np.ascontiguousarray(drawn.transpose(1, 2, 0))


def draw_saliency(
    image: UInt8[np.ndarray, "h w c"], saliency: Float32[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image in grey under colours that say how much each pixel matters; the one that does most is bright."""
    return lay_over(image, saliency / max(float(saliency.max()), 1e-12))


def draw_field(
    image: UInt8[np.ndarray, "h w c"], energy: Float32[np.ndarray, "h w"], rows: Span, columns: Span, effective: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image with what one unit sees: a frame around all of it, one around what matters, and how much each
    pixel does.

    Args:
        image: as the network sees it.
        energy: how much each pixel matters.
        rows: that the unit sees; some may lie beyond the image.
        columns: likewise.
        effective: side of the square around their middle that holds most.
    """
    picture = Image.fromarray(draw_saliency(image, np.sqrt(energy)))
    pen = ImageDraw.Draw(picture)
    pen.rectangle(_frame(rows, columns), outline=THEORY)
    if effective:
        middles = ((span.start + span.end) / 2 for span in (rows, columns))
        inner = [Span(round(middle - effective / 2), round(middle + effective / 2)) for middle in middles]
        pen.rectangle(_frame(*inner), outline=PRACTICE)
    drawn: UInt8[np.ndarray, "h w 3"] = np.asarray(picture)
    return drawn


def _frame(rows: Span, columns: Span) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom edge of a frame, the last two still in it."""
    return columns.start, rows.start, columns.end - 1, rows.end - 1


def enlarged(pixels: UInt8[np.ndarray, "h w c"], side: int) -> UInt8[np.ndarray, "H W c"]:
    """Return a picture with each pixel repeated, so often that its longer side has about so many."""
    times = max(side // max(pixels.shape[:2]), 1)
    return pixels.repeat(times, 0).repeat(times, 1)


def _bytes(levels: np.ndarray) -> np.ndarray:
    return (levels * 255).round().clip(0, 255).astype(np.uint8)
