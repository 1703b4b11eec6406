"""What a trained network is worth on images in which it is known where things are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from striate.data.annotations import Annotation, Box
from striate.data.boxed import Boxed, boxes_of
from striate.data.frames import Size
from striate.data.outlines import draw
from striate.detection.found import detections_of
from striate.detection.scores import (
    CocoScores,
    PrecisionRecall,
    Runs,
    Truth,
    coco_scores,
    mean_of,
    precision_recall,
    runs_of,
)
from striate.jobs.judging import shown_places
from striate.results import Detections

RIGHT = 0.5  # IoU of a box that is right.
SURE = 0.5  # Score of what is shown.
SPREAD, WORST = 6, 6  # Images that are shown: some of all, and those with the most mistakes.


@dataclass(frozen=True, slots=True)
class ThingWorth:
    """How well the things of one class are found.

    Args:
        name: of the class.
        things: that are to be found.
        found: the share of them that some box is right about, however unsure.
        ap: average precision, the mean over least overlaps from .50 to .95; None where there are none.
        ap50: at .50, as Pascal VOC takes it: the area below the curve.
        mask_ap: as ``ap``, of masks; None where there are none.
    """

    name: str
    things: int
    found: float | None
    ap: float | None
    ap50: float | None
    mask_ap: float | None = None


@dataclass(frozen=True, slots=True)
class JudgedBoxes:
    """What a network found in a set of images, and how right it was.

    Args:
        images: the set.
        metrics: by name; see `judge_boxes`.
        classes: the worth of each.
        curves: precision by recall of each class.
        mistakes: of each image: things that no box as sure as `SURE` is right about, and such boxes that are wrong.
        shown: what was found in some images, by their places: spread over the set, and those with the most mistakes.
    """

    images: Boxed
    metrics: Mapping[str, float]
    classes: tuple[ThingWorth, ...]
    curves: tuple[PrecisionRecall, ...]
    mistakes: tuple[int, ...]
    shown: Mapping[int, Detections]


def judge_boxes(outputs: Float[Tensor, "N D numbers"], images: Boxed, *, has_masks: bool) -> JudgedBoxes:
    """Judge what a network found by the images' boxes and masks, in the images' own pixels.

    The metrics are ``ap``, ``ap50`` and ``ap75``, the average precision of boxes as COCO takes it; ``voc_ap50``, the
    mean over classes of the area below precision by recall, as Pascal VOC takes it; and of masks, where the network
    says them, ``mask_ap`` and ``mask_ap50``.

    Args:
        outputs: of each image, as `striate.detection.found.packed` gives them.
        images: the set, as the network took it.
        has_masks: whether masks are said.
    """
    found, truths, masks = [], [], []
    for place, (rows, annotation) in enumerate(zip(outputs, images.annotations, strict=True)):
        size, _ = images.seen(place, None)
        said = detections_of(rows, images.classes, images.image_size, size)
        if has_masks:
            masks.append([runs_of(said.mask(number)) for number in range(len(said))])
        found.append(replace(said, masks=None))  # Those of all images together would take gigabytes.
        truths.append(truth_of(annotation, images.classes, size, has_masks=has_masks))
    count = len(images.classes)
    scores, curves = coco_scores(found, truths, count), precision_recall(found, truths, count, RIGHT)
    of_masks = coco_scores(found, truths, count, masks=masks) if has_masks else None
    metrics = {"ap": scores.ap, "ap50": scores.ap50, "ap75": scores.ap75}
    metrics["voc_ap50"] = mean_of(curve.area for curve in curves)
    if of_masks is not None:
        metrics |= {"mask_ap": of_masks.ap, "mask_ap50": of_masks.ap50}
    mistakes = tuple(mistaken(said, truth) for said, truth in zip(found, truths, strict=True))
    shown = {
        place: detections_of(outputs[place], images.classes, images.image_size, images.seen(place, None)[0], SURE)
        for place in shown_places([-float(count) for count in mistakes], SPREAD, WORST)
    }
    return JudgedBoxes(images, metrics, _classes(images.classes, scores, of_masks, curves), curves, mistakes, shown)


def truth_of(annotation: Annotation, classes: Sequence[str], size: Size, *, has_masks: bool) -> Truth:
    """Return what is in an image of (height, width), in its own pixels."""
    instances = annotation.instances
    masks: tuple[Runs, ...] | None = None
    if has_masks:
        # What has no outline is ignored, or was refused; its box will do.
        drawn = iter(draw([each.outline for each in instances if each.outline is not None], size))
        masks = tuple(
            runs_of((next(drawn) if each.outline is not None else _filled(each.xyxy, size)) > 0) for each in instances
        )
    return Truth(
        boxes_of(instances),
        torch.tensor([classes.index(each.label) for each in instances], dtype=torch.int64),
        torch.tensor([each.ignored for each in instances], dtype=torch.bool),
        masks,
    )


def _filled(xyxy: Box, size: Size) -> UInt8[np.ndarray, "H W"]:
    plane = np.zeros(size, np.uint8)
    left, top, right, bottom = map(round, xyxy)
    plane[top:bottom, left:right] = 1
    return plane


def mistaken(said: Detections, truth: Truth) -> int:
    """Return how many things of an image are missed, and how many boxes that are as sure as `SURE` are wrong."""
    curves = precision_recall([said.above(SURE)], [truth], len(said.names), RIGHT)
    return sum(curve.things + len(curve.scores) - 2 * round((curve.found or 0) * curve.things) for curve in curves)


def _classes(
    names: Sequence[str], scores: CocoScores, masks: CocoScores | None, curves: Sequence[PrecisionRecall]
) -> tuple[ThingWorth, ...]:
    return tuple(
        ThingWorth(
            name=name,
            things=curve.things,
            found=curve.found,
            ap=scores.by_class[place],
            ap50=curve.area,
            mask_ap=None if masks is None else masks.by_class[place],
        )
        for place, (name, curve) in enumerate(zip(names, curves, strict=True))
    )
