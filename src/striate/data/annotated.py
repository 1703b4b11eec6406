"""Images with boxes, in whatever format: which one it is, and what lies there."""

from collections.abc import Callable
from pathlib import Path

from striate.data.coco import has_coco, list_coco
from striate.data.instances import has_instances, list_instances
from striate.data.listing import Listing, describe
from striate.data.voc import has_voc, list_voc
from striate.data.yolo import find_yolo, list_yolo
from striate.errors import UsageError
from striate.files import spell

Format = tuple[Callable[[Path], bool], Callable[[Path], Listing]]


def _has_yolo(path: Path) -> bool:
    return find_yolo(path) is not None


# Pictures that number the pixels of things look like masks of classes: only who asks for boxes means them.
NAMED: tuple[Format, ...] = ((has_coco, list_coco), (_has_yolo, list_yolo), (has_voc, list_voc))
FORMATS: tuple[Format, ...] = (*NAMED, (has_instances, list_instances))


def has_boxes(path: Path) -> bool:
    """Tell whether a path is one of data with boxes, and of nothing else."""
    return any(is_it(path) for is_it, _ in NAMED)


def list_boxes(path: Path) -> Listing:
    """List the images of a data set, each with where its boxes are.

    Args:
        path: COCO's JSON file, YOLO's YAML file, or a folder of either, of Pascal VOC's XML files, or of images and
            masks that number things.

    Raises:
        UsageError: where it is none of these, or holds no images.
    """
    read = next((read for is_it, read in FORMATS if is_it(path)), None)
    found = None if read is None else read(path)
    if found is None or not found.items:
        lost = "" if found is None or not found.missing else f"; {len(found.missing):,} images are named and not there"
        raise UsageError(
            expected=f"images with boxes in {spell(path)}",
            received=describe(path) + lost,
            remedy="It can be a folder with JPEGImages and Annotations (Pascal VOC), with annotations/instances_*.json "
            "(COCO) or data.yaml (YOLO), or with folders of images and of masks that number things.",
        )
    return found
