"""Things drawn on images: a frame around each, its pixels, its name and how sure it is."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from striate.reporting.boxes import box_colours
from striate.results import Colour, Detections

SMALLEST = 480  # Pixels of the longer side: a smaller image is enlarged, so that names fit in.
LINE, LETTER = 400, 48  # Of the longer side, a frame is one part of so many thick, and a letter as high.
SMALLEST_LETTER = 11
BRIGHT = 140  # Of a colour, from which on letters on it are black.


def draw_detections(image: UInt8[np.ndarray, "h w c"], detections: Detections) -> UInt8[np.ndarray, "H W 3"]:
    """Return an image, grey or of colour, with the things in it, the surest on top.

    Each class has a colour; where there is only one, each thing has.

    Args:
        image: as large as the things' image; it stays as it is. A small one comes out enlarged by a whole number.
        detections: what is in it.
    """
    assert image.shape[:2] == detections.image_size
    pixels = np.array(np.broadcast_to(image, (*image.shape[:2], 3)))
    order = np.argsort(detections.scores, kind="stable").tolist()
    labels = detections.labels.tolist() if len(detections.names) > 1 else range(len(detections))
    known = box_colours(max(len(detections.names), len(detections)))
    colours = [known[label] for label in labels]
    if detections.masks is not None:
        for place in order:
            left, top, right, bottom = detections.window(place)
            part, mask = pixels[top:bottom, left:right], detections.masks[place]
            colour = np.array(colours[place], np.uint16)
            part[mask] = (part[mask].astype(np.uint16) + colour + 1) // 2
    longer = max(image.shape[:2])
    factor = -(-SMALLEST // longer) if longer < SMALLEST else 1
    picture = Image.fromarray(pixels)
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    pen, longer = ImageDraw.Draw(picture), longer * factor
    thick, font = max(longer // LINE, 1), ImageFont.load_default(max(longer // LETTER, SMALLEST_LETTER))
    for place in order:
        left, top, right, bottom = (round(float(edge) * factor) for edge in detections.boxes_xyxy[place])
        frame = left, top, max(right - 1, left), max(bottom - 1, top)
        pen.rectangle(frame, outline=colours[place], width=thick)
        text = f"{detections.names[int(detections.labels[place])]} {detections.scores[place]:.0%}"
        _write(pen, text, (left, top), font, colours[place], (picture.width, picture.height))
    drawn: UInt8[np.ndarray, "H W 3"] = np.asarray(picture)
    return drawn


def _write(
    pen: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colour: Colour,
    size: tuple[int, int],
) -> None:
    """Write on a ground of a colour, above a corner where there is room and below it where not, within the image."""
    _, _, width, height = (round(side) for side in pen.textbbox((0, 0), text, font=font))
    width, height = width + 4, height + 3
    left = max(min(corner[0], size[0] - width), 0)
    top = corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((left, top, left + width, top + height), fill=colour)
    red, green, blue = colour
    is_bright = 0.3 * red + 0.59 * green + 0.11 * blue >= BRIGHT
    pen.text((left + 2, top + 1), text, fill=(0, 0, 0) if is_bright else (255, 255, 255), font=font)
