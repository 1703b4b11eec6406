"""Boxes of every format: the same things in the same pictures are the same boxes; and what cannot be read."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxed_scenes import (
    NAMES,
    SIZE,
    coco_document,
    draw_things,
    seeds_of,
    voc_text,
    write_coco,
    write_instances,
    write_voc,
    write_yolo,
)
from photographs import write_folder
from striate.data.annotated import has_boxes, list_boxes
from striate.data.annotations import Annotation
from striate.data.boxed import BoxedFiles
from striate.data.listing import Listing
from striate.data.names import BoxOptions
from striate.data.outlines import draw, parse_outline, parse_runs
from striate.data.reading import Reading, inspect_all, list_files
from striate.data.source import finish, open_data, read_part
from striate.errors import UsageError

COUNTS = {"train": 4, "val": 2, "test": 3}
READING = Reading(boxes=BoxOptions())
Write = Callable[[Path, Mapping[str, int]], Path]
FORMATS = {"voc": write_voc, "coco": write_coco, "yolo": write_yolo, "instances": write_instances}
formats = pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)


def annotations_of(path: Path) -> dict[str, Annotation]:
    """Read all that is known, by name of the image."""
    _, files = finish(inspect_all(list_files(path, READING), READING, decode=False))
    return {file.item.path.stem: file.annotation for file in files if file.annotation is not None}


def told(listing: Listing) -> set[tuple[str, str]]:
    return {(item.part, item.path.stem) for item in listing.items}


@formats
def test_every_format_gives_the_boxes_that_were_drawn(tmp_path: Path, write: Write) -> None:
    root = write(tmp_path / "data", COUNTS)
    wanted = {(part, str(seed)) for part, count in COUNTS.items() for seed in seeds_of(part, count)}
    assert told(list_boxes(root)) == wanted
    assert has_boxes(root) == (write is not write_instances)
    for name, annotation in annotations_of(root).items():
        things = draw_things(int(name))[1]
        assert not annotation.faults
        assert len(annotation.instances) == len(things)
        for instance, thing in zip(annotation.instances, things, strict=True):
            assert instance.xyxy == pytest.approx(thing.xyxy, abs=1e-9)
            assert instance.label == ("object" if write is write_instances else thing.name)


@formats
def test_a_set_gives_targets_of_one_shape_in_the_networks_pixels(tmp_path: Path, write: Write) -> None:
    splits = open_data(str(write(tmp_path / "data", COUNTS)), 0, READING).prepared(3, (80, 26), None)
    most = max(len(draw_things(seed)[1]) for part, count in COUNTS.items() for seed in seeds_of(part, count))
    for part in splits.parts.values():
        assert isinstance(part, BoxedFiles)
        known = part.known()
        assert known.xyxy.shape == (len(part), most, 4)
        assert known.masks is None
        assert not known.ignored.any()
        for place in range(len(part)):
            things = draw_things(int(Path(part.source(place)).stem))[1]
            boxes = known.xyxy[place][known.valid[place]].numpy()
            assert boxes == pytest.approx(np.array([thing.xyxy for thing in things]) * (0.5, 2, 0.5, 2), abs=1e-4)
            names = [part.classes[label] for label in known.labels[place][known.valid[place]]]
            assert write is write_instances or names == [thing.name for thing in things]
            assert not known.xyxy[place][~known.valid[place]].any()


def test_classes_are_numbered_as_the_data_say_or_by_name(tmp_path: Path) -> None:
    classes = {
        name: open_data(str(write(tmp_path / name, COUNTS)), 0, READING).train.classes
        for name, write in FORMATS.items()
    }
    assert classes == {"voc": NAMES, "coco": ("cell", "dot"), "yolo": NAMES, "instances": ("object",)}


@pytest.mark.parametrize("layout", ["undivided", "trainval", "beside", "parts"])
def test_voc_files_are_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    source = write_voc(tmp_path / "source", COUNTS)
    root = tmp_path / "data"
    lists = source / "ImageSets" / "Main"
    if layout in ("undivided", "trainval"):
        source.rename(root)
        lists = root / "ImageSets" / "Main"
        if layout == "trainval":
            text = (lists / "train.txt").read_text() + (lists / "val.txt").read_text()
            (lists / "trainval.txt").write_text(text)
        for part in ("train", "val") if layout == "trainval" else COUNTS:
            (lists / f"{part}.txt").unlink()
    else:
        for part in COUNTS:
            folder = root if layout == "beside" else root / part
            folder.mkdir(parents=True, exist_ok=True)
            for name in (lists / f"{part}.txt").read_text().split():
                (source / "JPEGImages" / f"{name}.png").rename(folder / f"{name}.png")
                (source / "Annotations" / f"{name}.xml").rename(folder / f"{name}.xml")
    part_of = {"undivided": dict.fromkeys(COUNTS, ""), "beside": dict.fromkeys(COUNTS, "")}
    part_of["trainval"] = {"train": "train", "val": "train", "test": "test"}
    names = part_of.get(layout, {part: part for part in COUNTS})
    wanted = {(names[part], str(seed)) for part, count in COUNTS.items() for seed in seeds_of(part, count)}
    assert told(list_boxes(root)) == wanted


@pytest.mark.parametrize("layout", ["a file", "beside", "images"])
def test_coco_files_are_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    source = write_coco(tmp_path / "source", {"train": 3, "val": 2})
    for kind in ("captions", "person_keypoints"):
        (source / "annotations" / f"{kind}_train2017.json").write_text("{}")
    path = source
    if layout == "a file":
        path = source / "annotations" / "instances_val2017.json"
    elif layout == "beside":
        path = tmp_path / "data"
        for part in ("train", "val"):
            (path / part).mkdir(parents=True)
            for image in (source / f"{part}2017").iterdir():
                image.rename(path / part / image.name)
            (source / "annotations" / f"instances_{part}2017.json").rename(path / part / "_annotations.coco.json")
    else:
        (source / "images").mkdir()
        for part in ("train", "val"):
            (source / f"{part}2017").rename(source / "images" / f"{part}2017")
    wanted = {("train", str(seed)) for seed in range(3)} | {("val", str(seed)) for seed in (1000, 1001)}
    assert told(list_boxes(path)) == ({("", "1000"), ("", "1001")} if layout == "a file" else wanted)
    assert not list_boxes(path).missing


def test_yolo_settings_in_the_forms_that_people_write(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "data", {"train": 3, "val": 2})
    (root / "val.txt").write_text("./images/val/1000.png\nimages/val/1001.png\n")
    text = "train: ../images/train\nval: [val.txt]\ntest:\nnc: 2\nnames:\n  0: cell\n  1: dot\n"
    (root / "data.yaml").rename(root / "other.yaml")
    (root / "other.yaml").write_text(text)
    found = list_boxes(root / "other.yaml")
    assert {(item.part, item.path.stem) for item in found.items} == {
        ("train", "0"),
        ("train", "1"),
        ("train", "2"),
        ("val", "1000"),
        ("val", "1001"),
    }
    things = draw_things(0)[1]
    left, top, right, bottom = things[0].xyxy
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    shares = " ".join(f"{x / SIZE[1]} {y / SIZE[0]}" for x, y in corners)
    (root / "labels" / "train" / "0.txt").write_text(f"1 {shares}\n")
    (root / "labels" / "train" / "1.txt").unlink()
    known = annotations_of(root / "other.yaml")
    assert known["1"] == Annotation()
    (only,) = known["0"].instances
    assert only.label == "dot"
    assert only.xyxy == pytest.approx(things[0].xyxy)
    assert only.outline is not None
    (mask,) = draw([only.outline], SIZE)
    wanted = np.zeros(SIZE, np.uint8)
    wanted[top:bottom, left:right] = 1
    assert np.array_equal(mask, wanted)


def compressed(counts: list[int]) -> str:
    """Write runs as COCO's files have them, by the rule of its C code."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | 32 if more else bits))
    return text


def test_runs_as_numbers_and_as_text_are_the_same_pixels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mask = np.zeros(SIZE, np.uint8)
    mask[random.random(SIZE) < 0.3] = 1
    mask[5:30, 10:40] = 1
    flat = mask.T.ravel()  # Column after column.
    counts, value = [0], 0
    for pixel in flat.tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    assert parse_runs(compressed(counts)) == counts
    for said in (counts, compressed(counts)):
        outline = parse_outline({"size": list(SIZE), "counts": said})
        assert outline is not None
        assert np.array_equal(next(draw([outline], SIZE)), mask)
    assert parse_runs(compressed([0, 100_000, 3, 70_000, 2])) == [0, 100_000, 3, 70_000, 2]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three points"),
        ([["a", 2, 3, 4, 5, 6]], "three points"),
        ("a text", "neither polygons nor runs"),
        ({"size": [2, 2], "counts": [1, 2]}, "runs of 3 pixels"),
        ({"size": [2, 2], "counts": [-1, 5]}, "no numbers"),
        ({"size": [2], "counts": [4]}, "without the size"),
        ({"size": [2, 2], "counts": "\u20ac"}, "cannot be read"),
        ({"size": [2, 2], "counts": "PPPPPPPPP"}, "cannot be read|cut short"),
    ],
)
def test_outlines_that_cannot_be_meant_are_refused(said: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_outline(said)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation>", "no element found"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "document type"),
        ("<html></html>", "another kind, <html>"),
        ("<annotation><object><name>cell</name></object></annotation>", "without a bndbox"),
        (voc_text(()).replace("52", "104"), "an annotation of 40x104 for an image of 40x52"),
        (voc_text((), SIZE[::-1]), "before the image was turned"),
    ],
)
def test_what_is_wrong_with_an_xml_file_is_said(tmp_path: Path, text: str, reason: str) -> None:
    root = write_voc(tmp_path / "data", {"": 2})
    (root / "Annotations" / "3001.xml").write_text(text)
    assert reason in annotations_of(root)["3001"].problem
    with pytest.raises(UsageError) as caught:
        open_data(str(root), 0, READING)
    assert reason in caught.value.received


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda document: [], "a list"),
        (lambda document: [{"image_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}], "detections"),
        (lambda document: document | {"annotations": [{"caption": "a cat"}]}, "captions"),
        (lambda document: document | {"annotations": [{"keypoints": [1]}]}, "keypoints"),
        (lambda document: document | {"annotations": [{"segments_info": []}]}, "panoptic"),
        (lambda document: {"info": {}}, "keys info"),
        (lambda document: document | {"categories": [{"id": 1}]}, "a category without"),
        (lambda document: document | {"images": [{"id": 1}]}, "an image without"),
    ],
)
def test_json_files_of_another_kind_are_named_as_such(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    path = tmp_path / "some.json"
    path.write_text(json.dumps(spoil(coco_document(range(2)))))
    with pytest.raises(UsageError) as caught:
        list_boxes(path)
    assert reason in caught.value.received
    path.write_text("{")
    with pytest.raises(UsageError, match="COCO"):
        list_boxes(path)


def test_settings_and_folders_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "data", {"train": 2})
    for text, received in (
        ("names: [a]", "keys names"),
        ("[", "flow sequence|expected"),
        ("train: nowhere\nnames: [a]", "'nowhere', which is not there"),
        ("train: images/train\nnames: [a, a]", "names: "),
        ("train: images/train\nnames: {1: a}", "names: "),
    ):
        (root / "data.yaml").write_text(text)
        with pytest.raises(UsageError, match=received):
            list_boxes(root)
    (root / "data.yaml").write_text("train: images/train\nnames: [a, b]")
    for file in (root / "labels" / "train").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="none for any of 2"):
        list_boxes(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="images with boxes"):
        list_boxes(tmp_path / "empty")


def test_boxes_and_classes_are_not_taken_for_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        list_files(write_voc(tmp_path / "boxes", {"": 2}), Reading())
    assert "--task detect" in caught.value.remedy
    with pytest.raises(UsageError, match="images with boxes"):
        list_files(write_folder(tmp_path / "classes", {"": 2}), READING)
    with pytest.raises(UsageError, match="one class each"):
        open_data("digits", 0, READING)
    with pytest.raises(UsageError) as caught:
        open_data("shapes", 0)
    assert "--task detect" in caught.value.remedy


def test_masks_are_those_of_the_things_within_their_boxes(tmp_path: Path) -> None:
    reading = Reading(boxes=BoxOptions(mask_side=8))
    for write in (write_coco, write_instances):
        images = open_data(str(write(tmp_path / write.__name__, COUNTS)), 0, reading).train.prepared(3, (40, 52), None)
        assert isinstance(images, BoxedFiles)
        known = images.known()
        assert known.masks is not None
        assert known.masks.shape == (*known.valid.shape, 8, 8)
        assert (known.masks[known.valid] == 255).all()  # Rectangles fill their boxes.
        assert not known.masks[~known.valid].any()
    with pytest.raises(UsageError, match="an outline of each thing"):
        open_data(str(write_voc(tmp_path / "voc", COUNTS)), 0, reading)


def test_what_is_known_of_a_set_changes_its_fingerprint(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "data", {"train": 5, "val": 2})
    first = open_data(str(root), 0, READING).fingerprint()
    assert open_data(str(root), 0, READING).fingerprint() == first
    file = root / "Annotations" / "3.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    assert open_data(str(root), 0, READING).fingerprint() != first


def test_a_network_that_knows_more_classes_can_be_judged_by_fewer(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "data", COUNTS)
    name, images = finish(read_part(str(root), "val", ("sky", "dot", "cell"), READING))
    assert isinstance(images, BoxedFiles)
    labels = images.prepared(3, SIZE, None).known()
    things = draw_things(1000)[1]
    assert name == "val"
    assert labels.labels[0, : len(things)].tolist() == [{"dot": 1, "cell": 2}[thing.name] for thing in things]
    with pytest.raises(UsageError, match="besides"):
        finish(read_part(str(root), "val", ("sky",), READING))


def test_the_real_sets_have_the_boxes_that_their_papers_count(shared_data: Callable[[str], Path]) -> None:
    listing, files = finish(inspect_all(list_boxes(shared_data("bccd")), READING, decode=False))
    counts = {part: len(listing.of(part)) for part in listing.parts}
    assert counts == {"train": 205, "val": 87, "test": 72}
    kept = [each for file in files if file.annotation is not None for each in file.annotation.instances]
    labels = [each.label for each in kept]
    assert {name: labels.count(name) for name in listing.names} == {"Platelets": 361, "RBC": 4153, "WBC": 372}
    faults = [fault.kind for file in files if file.annotation is not None for fault in file.annotation.faults]
    assert faults == ["empty box"] * 2


def test_boxes_of_pedestrians_are_those_of_their_text_files(shared_data: Callable[[str], Path]) -> None:
    """157 of 170 files say the same as the masks; the others are off by a few pixels."""
    root, same, count = shared_data("pennfudan"), 0, 0
    for name, annotation in annotations_of(root).items():
        lines = (root / "Annotation" / f"{name}.txt").read_text(encoding="latin-1").splitlines()
        said = []
        for line in lines:
            if line.startswith("Bounding box"):
                numbers = line.split(":")[1].replace("(", "").replace(")", "").replace("-", ",").split(",")
                left, top, right, bottom = (float(number) for number in numbers)
                said.append((left - 1, top - 1, right, bottom))
        boxes = [instance.xyxy for instance in annotation.instances]
        same += sorted(said) == sorted(boxes)
        count += len(boxes)
        assert np.abs(np.array(sorted(said)) - np.array(sorted(boxes))).max() <= 6
    assert (count, same) == (423, 157)
