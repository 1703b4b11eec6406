"""What is wrong with boxes is found, and what can be learned without it is, with a note."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxed_scenes import SIZE, coco_document, draw_things, voc_text, write_coco, write_instances, write_voc, write_yolo
from striate.data.boxed import BoxedFiles
from striate.data.checks import find_problems
from striate.data.findings import Finding
from striate.data.images import ORIENTATION
from striate.data.names import BoxOptions
from striate.data.reading import Reading, inspect_all, list_files
from striate.data.source import finish, open_data
from striate.errors import UsageError

READING = Reading(boxes=BoxOptions())
SKIPPING = Reading(skip_bad=True, boxes=BoxOptions())


def findings_of(root: Path) -> list[Finding]:
    listing, files = finish(inspect_all(list_files(root, READING), READING, decode=True))
    return find_problems(listing, files)


def with_boxes(root: Path, name: str, boxes: Mapping[str, tuple[float, float, float, float]]) -> None:
    """Give an image of a VOC folder boxes of its own, as they are written there: both corners count, from 1."""
    objects = "".join(
        f"<object><name>{label.split()[0]}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>"
        f"<ymax>{bottom}</ymax></bndbox></object>"
        for label, (left, top, right, bottom) in boxes.items()
    )
    text = voc_text(()).replace("</annotation>", f"{objects}</annotation>")
    (root / "Annotations" / f"{name}.xml").write_text(text)


@pytest.mark.parametrize(
    ("box", "kind", "left"),
    [
        ((5, 5, 5, 5), "empty box", 1),
        ((5, 5, 5, 20), "empty box", 1),
        ((20, 5, 10, 15), "swapped corners", 0),
        ((5, 15, 10, 5), "swapped corners", 0),
        ((60, 5, 70, 15), "box outside", 0),
        ((5, 50, 15, 60), "box outside", 0),
        ((40, 5, 60, 15), "clipped box", 2),
        ((-10, 5, 15, 15), "clipped box", 2),
        ((0, 0, 53, 41), None, 2),  # Counted from 0, or rounded up.
        ((float("nan"), 1, 5, 5), "annotation", 0),
        ((1, 1, float("inf"), 5), "annotation", 0),
        ((9, 9, 20, 20), "duplicate box", 1),  # As the one that is there besides.
    ],
)
def test_every_fault_of_a_box_is_found(
    tmp_path: Path, box: tuple[float, float, float, float], kind: str | None, left: int
) -> None:
    root = write_voc(tmp_path / "data", {"train": 3, "val": 2})
    with_boxes(root, "0", {"cell": (9, 9, 20, 20), "cell 2": box})
    found = [each for each in findings_of(root) if each.kind != "missing class"]
    assert [each.kind for each in found] == ([] if kind is None else [kind])
    assert all(each.text.startswith("JPEGImages/0.png: cell at ") for each in found)
    assert all(each.severe == (left == 0) for each in found)
    if left == 0:
        with pytest.raises(UsageError) as caught:
            open_data(str(root), 0, READING)
        assert "1 bad: JPEGImages/0.png" in caught.value.received
        splits = open_data(str(root), 0, SKIPPING)
        assert len(splits.train) == 2
        assert "images that cannot be read, left out: 1" in splits.notes
        return
    splits = open_data(str(root), 0, READING)
    assert isinstance(splits.train, BoxedFiles)
    annotation = splits.train.annotations[0]
    assert len(annotation.instances) == left
    for instance in annotation.instances:
        assert 0 <= instance.xyxy[0] < instance.xyxy[2] <= SIZE[1]
        assert 0 <= instance.xyxy[1] < instance.xyxy[3] <= SIZE[0]
    assert any(note.endswith(": 1") for note in splits.notes) == (kind is not None)


def test_a_thing_of_a_class_that_nobody_learns_is_found(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", {"train": 8, "val": 2})
    with_boxes(root, "1000", {"star": (5, 5, 15, 15)})
    assert ("unknown class", "val has star, which train has not") in {(f.kind, f.text) for f in findings_of(root)}
    with pytest.raises(UsageError, match="val has star"):
        open_data(str(root), 0, READING)
    root = write_yolo(tmp_path / "yolo", {"train": 4, "val": 2})
    (root / "labels" / "train" / "0.txt").write_text("2 0.5 0.5 0.1 0.1\n-1 0.5 0.5 0.1 0.1\na 0.5 0.5 0.1 0.1\n")
    found = [(f.kind, f.text.split(":", 1)[1]) for f in findings_of(root) if f.severe]
    assert found == [
        ("unknown class", " 0.txt: '2 0.5 0.5 0.1 0.1' in line 1, of 2 classes"),
        ("unknown class", " 0.txt: '-1 0.5 0.5 0.1 0.1' in line 2, of 2 classes"),
        ("annotation", " 0.txt: 'a 0.5 0.5 0.1 0.1' in line 3"),
    ]
    root = write_coco(tmp_path / "coco", {"train": 3})
    file = root / "annotations" / "instances_train2017.json"
    document = coco_document(range(3))
    document["annotations"][0]["category_id"] = 99
    file.write_text(json.dumps(document))
    assert [f.kind for f in findings_of(root) if f.severe] == ["unknown class"]


def test_images_without_boxes_are_worth_knowing(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "data", {"train": 4, "val": 2})
    (root / "labels" / "train" / "0.txt").write_text("")
    (root / "labels" / "train" / "2.txt").unlink()
    (found,) = [each for each in findings_of(root) if each.kind == "unlabelled"]
    assert not found.severe
    assert found.text == "2 images of train without a box: images/train/0.png, images/train/2.png"
    splits = open_data(str(root), 0, READING)
    assert found.text in splits.notes
    assert isinstance(splits.train, BoxedFiles)
    assert splits.train.known().valid.any(1).tolist() == [False, True, False, True]


@pytest.mark.parametrize("write", [write_voc, write_coco])
def test_images_that_are_named_and_not_there_are_found(
    tmp_path: Path, write: Callable[[Path, Mapping[str, int]], Path]
) -> None:
    root = write(tmp_path / "data", {"train": 4, "val": 2})
    next(root.rglob("2.png")).unlink()
    (found,) = [each for each in findings_of(root) if each.severe]
    assert found.kind == "missing image"
    assert found.text.startswith("1 named and not there: 2")
    with pytest.raises(UsageError, match="1 that are not there"):
        open_data(str(root), 0, READING)
    assert len(open_data(str(root), 0, SKIPPING).train) == 3


def test_boxes_of_images_that_a_file_does_not_name_are_found(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", {"train": 3})
    document = coco_document(range(3))
    document["annotations"][0]["image_id"] = 77
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(document))
    assert "image 77, of 1 boxes in instances_train2017.json" in next(f.text for f in findings_of(root) if f.severe)


def test_sizes_are_those_of_images_that_are_turned_upright(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"train": 3, "val": 1})
    picture, things = draw_things(0)
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # To be turned by a quarter: what lies in the file is wider than high.
    Image.fromarray(np.rot90(picture)).save(root / "JPEGImages" / "0.png", exif=exif)
    assert not [each for each in findings_of(root) if each.severe]
    (root / "Annotations" / "0.xml").write_text(voc_text(things, SIZE[::-1]))
    (found,) = [each for each in findings_of(root) if each.severe]
    assert found.kind == "annotation"
    assert "made before the image was turned" in found.text


def test_masks_of_things_that_cannot_be_meant_are_found(tmp_path: Path) -> None:
    root = write_instances(tmp_path / "data", {"train": 5, "val": 1})
    masks = root / "train" / "ThingMasks"
    Image.fromarray(np.ones((20, 26), np.uint8)).save(masks / "0_mask.png")
    (masks / "1_mask.png").write_bytes(b"no image")
    Image.fromarray(np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE)).save(masks / "2_mask.png")
    texts = [each.text for each in findings_of(root) if each.severe]
    assert texts == [
        "train/PNGImages/0.png: a mask of 20x26 for an image of 40x52 pixels",
        "train/PNGImages/1.png: its mask 1_mask.png: no image that can be read",
        "train/PNGImages/2.png: its mask 2_mask.png: 2,079 things",
    ]
    (masks / "3_mask.png").unlink()
    with pytest.raises(UsageError, match="1 without"):
        list_files(root, READING)


def test_outlines_that_do_not_belong_to_their_images_are_found(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", {"train": 4})
    document = coco_document(range(4))
    first = {record["image_id"]: record for record in reversed(document["annotations"])}
    first[0]["segmentation"] = [[0, 0, 5, 0, 5, 1000]]
    first[1]["segmentation"] = {"size": [2, 2], "counts": [1, 3]}
    first[2]["segmentation"] = [[0, 0, 5, 0]]
    first[3]["bbox"] = [1, 2, 3]
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(document))
    texts = [each.text for each in findings_of(root) if each.kind == "annotation"]
    for text, said in zip(texts, ("far outside", "runs of 2x2", "three points", "not x, y, width"), strict=True):
        assert said in text


def test_pictures_that_are_there_twice_with_the_same_boxes_are_no_contradiction(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"train": 4, "val": 1})
    images, files = root / "JPEGImages", root / "Annotations"
    for name, of in (("1", "0"), ("3", "2")):
        (images / f"{name}.png").write_bytes((images / f"{of}.png").read_bytes())
    (files / "1.xml").write_text((files / "0.xml").read_text() + "\n")
    with_boxes(root, "3", {"cell": (5, 5, 15, 15)})
    kinds = {each.text: each.kind for each in findings_of(root) if "=" in each.text}
    assert kinds == {
        "JPEGImages/0.png = JPEGImages/1.png": "duplicate",
        "JPEGImages/2.png = JPEGImages/3.png": "two labels",
    }
