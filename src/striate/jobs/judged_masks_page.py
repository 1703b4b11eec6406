"""What a network for pixels is worth, on a page: by class, and its masks beside the true ones."""

import numpy as np
from jaxtyping import UInt8

from striate.jobs.judging_masks import JudgedMasks, MaskPicture
from striate.reporting.masks import paint_mask, usual_colours
from striate.reporting.page import Page
from striate.results import UNKNOWN, Colour
from striate.training.tasks.segmentation import BAND

LINE = 4  # White pixels between two pictures.


def add_judged_masks(page: Page, judged: JudgedMasks, of: str) -> None:
    """Add what a network is worth; ``of`` says on which images."""
    page.heading(f"Classes{of}")
    page.text(
        "IoU: the pixels that are of a class and were said to be, as a share of those that are or were. Near borders: "
        f"the same, of the pixels at most {BAND} away from a border between two classes. All of this is about the "
        "middle of each image that the network is shown, at its size."
    )
    page.table(
        ["class", "pixels", "IoU", "IoU near borders", "precision", "recall"],
        [
            (each.name, each.pixels, *map(share, (each.iou, each.trimap_iou, each.precision, each.recall)))
            for each in judged.classes
        ],
        sortable=True,
    )
    page.heading(f"Images, true masks and what was said{of}")
    colours = judged.colours or usual_colours(len(judged.classes))
    page.pictures(
        [
            (beside(each, colours), f"{judged.images.source(each.place)}: mean IoU {each.iou:.2%}")
            for each in judged.pictures
        ]
    )


def share(value: float | None) -> str:
    """Say a share in percent."""
    return "none" if value is None else f"{value:.2%}"


def beside(picture: MaskPicture, colours: tuple[Colour, ...]) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image, its mask, and what was said, side by side; what is not known is white in both masks."""
    image = np.broadcast_to(picture.image, (*picture.image.shape[:2], 3))
    said = np.where(picture.truth == UNKNOWN, UNKNOWN, picture.said).astype(np.uint8)
    return beside_each_other(image, *(paint_mask(mask, colours) for mask in (picture.truth, said)))


def beside_each_other(*pictures: UInt8[np.ndarray, "h _ 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return pictures of one height in a row, a white line between each two."""
    line = np.full((len(pictures[0]), LINE, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (line, picture)]
    return np.concatenate(parts[1:], 1)
