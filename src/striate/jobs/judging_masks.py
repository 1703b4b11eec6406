"""What a trained network is worth on images of which the class of each pixel is known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from striate.data.images import visible
from striate.data.masked import MaskedFiles
from striate.data.preprocessing import Preprocessing
from striate.jobs.judging import shown_places
from striate.results import Colour
from striate.segmentation.scores import scores_of
from striate.training.task import Samples
from striate.training.tasks.images import LabelledImages, labelled
from striate.training.tasks.segmentation import figures_of

SPREAD, WORST = 8, 8  # Pictures that are shown: some of all, and those that are worst.


@dataclass(frozen=True, slots=True)
class ClassOverlap:
    """How well the pixels of one class are found.

    Args:
        name: of the class.
        pixels: that are of it.
        precision: the share of those taken for it that are; None where none were.
        recall: the share of its pixels that were taken for it; None where there are none.
        iou: those that are and were, as a share of those that are or were; None where there are neither.
        trimap_iou: the same of the pixels near a border.
    """

    name: str
    pixels: int
    precision: float | None
    recall: float | None
    iou: float | None
    trimap_iou: float | None


@dataclass(frozen=True, slots=True)
class MaskPicture:
    """One image beside its mask and what a network said.

    Args:
        place: of the image in its set.
        iou: the mean of its classes.
        image: as the network saw it, before it was normalised.
        truth: the class of each pixel.
        said: likewise.
    """

    place: int
    iou: float
    image: UInt8[np.ndarray, "h w c"]
    truth: UInt8[np.ndarray, "h w"]
    said: UInt8[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True)
class JudgedMasks:
    """What a network said of the pixels of a set of images, and how right it was.

    Args:
        images: the set.
        metrics: by name; see `judge_masks`.
        classes: the worth of each.
        colours: of the classes.
        pictures: some images with their masks, the worst ones last.
    """

    images: MaskedFiles
    metrics: Mapping[str, float]
    classes: tuple[ClassOverlap, ...]
    colours: tuple[Colour, ...]
    pictures: tuple[MaskPicture, ...] = ()


def judge_masks(
    counts: Float64[Tensor, "N 2 3 K"],
    images: MaskedFiles,
    colours: tuple[Colour, ...],
    preprocessing: Preprocessing,
    show: Callable[[LabelledImages], Tensor] | None,
) -> JudgedMasks:
    """Judge what a network said by the images' masks, as they were scaled for it.

    The metrics are those of `striate.training.tasks.segmentation.figures_of`.

    Args:
        counts: of each image, as `striate.training.tasks.segmentation.pixel_counts` returns them.
        images: the set.
        colours: of the classes; none for the usual ones.
        preprocessing: of the network.
        show: runs the network on a batch and returns its logits, for pictures of some images: spread over the set, and
            the worst; None for none.
    """
    total = counts.sum(0).long()
    every, near = (scores_of(each) for each in total)
    right, taken, true = total[0].tolist()
    classes = tuple(
        ClassOverlap(
            name=name,
            pixels=true[place],
            precision=right[place] / taken[place] if taken[place] else None,
            recall=right[place] / true[place] if true[place] else None,
            iou=every.ious[place],
            trimap_iou=near.ious[place],
        )
        for place, name in enumerate(images.classes)
    )
    ious = tuple(scores_of(image[0].long()).mean_iou for image in counts)
    pictures: tuple[MaskPicture, ...] = ()
    if show is not None:
        places = shown_places(ious, SPREAD, WORST)
        pictures = tuple(
            _picture(images.subset([each]), each, ious[each] or 0.0, preprocessing, show) for each in places
        )
    return JudgedMasks(images, figures_of(counts.sum(0)), classes, colours, pictures)


def _picture(
    image: MaskedFiles,
    place: int,
    iou: float,
    preprocessing: Preprocessing,
    show: Callable[[LabelledImages], Tensor],
) -> MaskPicture:
    with torch.inference_mode():
        logits = show(labelled(preprocessing, Samples(image, 0, [place])))
    said = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
    shown = visible(image.pixels()[0])
    return MaskPicture(place, iou, shown, image.known()[0].numpy(), said)
