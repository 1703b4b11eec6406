"""How right found boxes are: precision by recall, its mean as Pascal VOC takes it, and as COCO does."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from striate.boxes import pairwise_iou, xyxy_to_xywh
from striate.results import Detections

MOST = 100  # Boxes of an image that COCO looks at, the surest ones.


Runs = Mapping[str, Any]  # A mask in COCO's compressed form.


@dataclass(frozen=True, slots=True)
class Truth:
    """What is in one image.

    Args:
        xyxy: boxes, in pixels.
        labels: the index of each one's class.
        ignored: whether it need not be found, and is not wrong to find.
        masks: which of the image's pixels are each one's, as `runs_of` gives them; None where nobody says.
    """

    xyxy: Float[Tensor, "T 4"]
    labels: Int64[Tensor, " T"]
    ignored: Bool[Tensor, " T"]
    masks: tuple[Runs, ...] | None = None


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """How precision goes down as recall goes up, of one class.

    Args:
        things: that were to be found.
        scores: of what was found, surest first.
        precision: the share that is right of what was found with that score or a higher one.
        recall: the share of the things that was found so.
    """

    things: int
    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    def best_from(self, recall: float) -> float:
        """Return the best precision at that recall or a higher one; 0 where it is not reached."""
        reached = self.precision[self.recall >= recall]
        return float(reached.max()) if len(reached) else 0.0

    @property
    def found(self) -> float | None:
        """The share of the things that was found, however unsure; None where there is nothing to find."""
        if not self.things:
            return None
        return float(self.recall[-1]) if len(self.recall) else 0.0

    @property
    def eleven_points(self) -> float | None:
        """The mean of the best precisions at recalls 0, 0.1, ... 1; None where there is nothing to find.

        So it was in the Pascal VOC challenge up to 2009 (Everingham et al., "The Pascal visual object classes (VOC)
        challenge", 2010, section 4.2).
        """
        return sum(self.best_from(tenth / 10) for tenth in range(11)) / 11 if self.things else None

    @property
    def area(self) -> float | None:
        """The area below the best precisions at each recall or a higher one; None where there is nothing to find.

        So it has been from 2010 on (Everingham et al., "The Pascal visual object classes challenge: a retrospective",
        2015, section 3.2).
        """
        if not self.things:
            return None
        best = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float((np.diff(self.recall, prepend=0) * best).sum())


def precision_recall(
    found: Sequence[Detections], truths: Sequence[Truth], classes: int, least_iou: float = 0.5
) -> tuple[PrecisionRecall, ...]:
    """Return precision by recall of each class, as Pascal VOC counts.

    Whatever was found, surest first, is held against the thing of its class and image that it overlaps most. If that
    is by ``least_iou`` or more it is right, where nothing surer was held to be that thing before, and wrong otherwise;
    where the thing is ignored, it does not count.

    Args:
        found: in each image.
        truths: of the same images.
        classes: how many there are.
        least_iou: of a box that is right.
    """
    return tuple(_of_class(found, truths, label, least_iou) for label in range(classes))


def _of_class(found: Sequence[Detections], truths: Sequence[Truth], label: int, least_iou: float) -> PrecisionRecall:
    scores, thing = list[float](), list[tuple[int, int] | None]()  # Which thing each is held to be; None for none.
    ignored = set[tuple[int, int]]()
    things = 0
    for place, (said, truth) in enumerate(zip(found, truths, strict=True)):
        true_boxes, is_ignored = (each[truth.labels == label].cpu() for each in (truth.xyxy, truth.ignored))
        own = said.labels == label
        boxes, sure = (torch.from_numpy(each[own]).double() for each in (said.boxes_xyxy, said.scores))
        things += int((~is_ignored).sum())
        ignored |= {(place, number) for number in is_ignored.nonzero()[:, 0].tolist()}
        scores += sure.tolist()
        if not len(true_boxes):
            thing += [None] * len(boxes)
            continue
        largest, best = pairwise_iou(boxes, true_boxes.double()).max(1)
        is_there = (largest >= least_iou).tolist()
        thing += [(place, number) if there else None for number, there in zip(best.tolist(), is_there, strict=True)]
    order = np.argsort(-np.array(scores), kind="stable")
    taken, counted, right = set[tuple[int, int]](), list[int](), list[bool]()
    for number in order.tolist():
        which = thing[number]
        if which is None or which not in ignored:
            counted.append(number)
            right.append(which is not None and which not in taken)
        if which is not None:
            taken.add(which)
    hits = np.cumsum(np.array(right, np.int64))
    return PrecisionRecall(
        things,
        np.array(scores, np.float64)[np.array(counted, np.int64)],
        hits / np.arange(1, len(hits) + 1),
        hits / max(things, 1),
    )


def mean_of(values: Iterable[float | None]) -> float:
    """Return the mean over the classes of which there is something to find; 0 where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0


@dataclass(frozen=True, slots=True)
class CocoScores:
    """Average precision as COCO takes it, at 101 recalls (Lin et al., "Microsoft COCO", 2014).

    Args:
        ap: the mean over least overlaps .50, .55, ... .95 and all classes.
        ap50: at .50.
        ap75: at .75.
        by_class: as ``ap``, of each class; None where there is nothing to find.
    """

    ap: float
    ap50: float
    ap75: float
    by_class: tuple[float | None, ...]


def coco_scores(
    found: Sequence[Detections],
    truths: Sequence[Truth],
    classes: int,
    *,
    masks: Sequence[Sequence[Runs]] | None = None,
) -> CocoScores:
    """Return the average precision of boxes, or of masks, as COCO takes it, of up to 100 boxes an image.

    What is ignored is a crowd to it: whatever lies in it does not count.

    Args:
        found: in each image.
        truths: of the same images; with masks, where these are judged.
        classes: how many there are.
        masks: of what was found in each image, as `runs_of` gives them; None to judge boxes.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    images = [
        {"id": place, "height": said.image_size[0], "width": said.image_size[1]} for place, said in enumerate(found)
    ]
    true = [
        record
        for place, truth in enumerate(truths)
        for record in _records(place, truth, None if masks is None else truth.masks)
    ]
    for number, record in enumerate(true, 1):
        record["id"] = number
    categories = [{"id": label, "name": str(label)} for label in range(classes)]
    reference = COCO({"images": images, "annotations": true, "categories": categories})
    said = [
        record
        for place, each in enumerate(found)
        for record in _records(place, each, None if masks is None else masks[place])
    ]
    judged = COCOeval_faster(reference, reference.loadRes(said), "bbox" if masks is None else "segm")
    judged.params.maxDets = [MOST]
    judged.evaluate()
    judged.accumulate()
    # By least overlap, recall and class, of things of any size; -1 for a class of which there is none.
    precision = np.asarray(judged.eval["precision"], np.float64).reshape(
        len(judged.params.iouThrs), len(judged.params.recThrs), classes, len(judged.params.areaRng), 1
    )[:, :, :, 0, 0]
    there = [label for label in range(classes) if (precision[:, :, label] >= 0).all()]
    means = precision.mean(1)[:, there] if there else np.zeros((len(precision), 1))
    by_class = [float(precision[:, :, label].mean()) if label in there else None for label in range(classes)]
    return CocoScores(float(means.mean()), float(means[0].mean()), float(means[5].mean()), tuple(by_class))


def _records(place: int, image: Detections | Truth, masks: Sequence[Runs] | None) -> list[dict[str, Any]]:
    """Return what is known of an image as COCO's files have it."""
    xyxy = torch.from_numpy(image.boxes_xyxy) if isinstance(image, Detections) else image.xyxy.cpu()
    records: list[dict[str, Any]] = [
        {"image_id": place, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for box, label in zip(xyxy_to_xywh(xyxy.double()).tolist(), image.labels.tolist(), strict=True)
    ]
    if isinstance(image, Detections):
        for record, score in zip(records, image.scores.tolist(), strict=True):
            record["score"] = score
    else:
        for record, is_ignored in zip(records, image.ignored.tolist(), strict=True):
            record["iscrowd"] = int(is_ignored)
    if masks is not None:
        for record, runs in zip(records, masks, strict=True):
            record["segmentation"] = runs
            del record["bbox"]
    return records


def runs_of(mask: Bool[np.ndarray, "H W"]) -> Runs:
    """Return a mask in COCO's compressed form: ``size`` and ``counts``, the latter in bytes."""
    from faster_coco_eval.core import mask as coco

    runs: Runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return runs
