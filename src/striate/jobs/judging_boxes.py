"""What a trained network is worth on images in which it is known where things are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from striate.data.annotations import Annotation
from striate.data.boxed import Boxed, boxes_of
from striate.data.frames import Size
from striate.data.outlines import draw
from striate.detection.found import detections_of
from striate.detection.scores import CocoScores, PrecisionRecall, Truth, coco_scores, mean_of, precision_recall
from striate.results import Detections

RIGHT = 0.5  # IoU of a box that is right.


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
        found: in each image, in its own pixels.
        mistakes: of each image: things of which no box above one half is right, and boxes above one half that are not.
    """

    images: Boxed
    metrics: Mapping[str, float]
    classes: tuple[ThingWorth, ...]
    curves: tuple[PrecisionRecall, ...]
    found: tuple[Detections, ...]
    mistakes: tuple[int, ...]


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
    found, truths = [], []
    for place, (rows, annotation) in enumerate(zip(outputs, images.annotations, strict=True)):
        size, _ = images.seen(place, None)
        found.append(detections_of(rows, images.classes, images.image_size, size))
        truths.append(truth_of(annotation, images.classes, size, has_masks=has_masks))
    count = len(images.classes)
    scores, curves = coco_scores(found, truths, count), precision_recall(found, truths, count, RIGHT)
    masks = coco_scores(found, truths, count, masks=True) if has_masks else None
    metrics = {"ap": scores.ap, "ap50": scores.ap50, "ap75": scores.ap75}
    metrics["voc_ap50"] = mean_of(curve.area for curve in curves)
    if masks is not None:
        metrics |= {"mask_ap": masks.ap, "mask_ap50": masks.ap50}
    mistakes = tuple(mistaken(said, truth) for said, truth in zip(found, truths, strict=True))
    return JudgedBoxes(images, metrics, _classes(images.classes, scores, masks, curves), curves, tuple(found), mistakes)


def truth_of(annotation: Annotation, classes: Sequence[str], size: Size, *, has_masks: bool) -> Truth:
    """Return what is in an image of (height, width), in its own pixels."""
    instances = annotation.instances
    masks: Tensor | None = None
    if has_masks:
        # What has no outline is ignored, or was refused; its box will do.
        drawn = iter(draw([each.outline for each in instances if each.outline is not None], size))
        planes = [next(drawn) if each.outline is not None else _filled(each.xyxy, size) for each in instances]
        masks = torch.from_numpy(np.stack(planes) > 0) if planes else torch.zeros(0, *size, dtype=torch.bool)
    return Truth(
        boxes_of(instances),
        torch.tensor([classes.index(each.label) for each in instances], dtype=torch.int64),
        torch.tensor([each.ignored for each in instances], dtype=torch.bool),
        masks,
    )


def _filled(xyxy: tuple[float, float, float, float], size: Size) -> np.ndarray:
    plane = np.zeros(size, np.uint8)
    left, top, right, bottom = map(round, xyxy)
    plane[top:bottom, left:right] = 1
    return plane


def mistaken(said: Detections, truth: Truth) -> int:
    """Return how many things of an image are missed, and how many boxes above one half are wrong."""
    curves = precision_recall([said.above(0.5)], [truth], len(said.names), RIGHT)
    right = [round(float(curve.recall[-1]) * curve.things) if len(curve.recall) else 0 for curve in curves]
    said_in_all = [len(curve.scores) for curve in curves]
    return sum(curve.things + count - 2 * hits for curve, count, hits in zip(curves, said_in_all, right, strict=True))


def _classes(
    names: Sequence[str], scores: CocoScores, masks: CocoScores | None, curves: Sequence[PrecisionRecall]
) -> tuple[ThingWorth, ...]:
    return tuple(
        ThingWorth(
            name=name,
            things=curve.things,
            found=float(curve.recall[-1]) if curve.things and len(curve.recall) else 0.0 if curve.things else None,
            ap=scores.by_class[place],
            ap50=curve.area,
            mask_ap=None if masks is None else masks.by_class[place],
        )
        for place, (name, curve) in enumerate(zip(names, curves, strict=True))
    )
