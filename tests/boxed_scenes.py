"""Pictures of coloured things on grey ground, with their boxes, in every format that boxes come in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = {"cell": (200, 40, 40), "dot": (40, 40, 200)}
NAMES = tuple(COLOURS)
SIZE = (40, 52)  # Height and width.
FIRST = {"train": 0, "val": 1000, "test": 2000, "": 3000}  # Seeds of each part.


class Thing(NamedTuple):
    name: str
    xyxy: tuple[int, int, int, int]


def draw_things(seed: int) -> tuple[NDArray[np.uint8], tuple[Thing, ...]]:
    """Return a picture, and what is in it: one to three rectangles beside each other."""
    random = np.random.default_rng(seed)
    picture, things = np.full((*SIZE, 3), 90), []
    for place in range(int(random.integers(1, 4))):
        left, top = 17 * place + int(random.integers(0, 5)), int(random.integers(0, 20))
        right, bottom = left + int(random.integers(6, 12)), top + int(random.integers(6, 20))
        name = NAMES[int(random.integers(2))]
        picture[top:bottom, left:right] = COLOURS[name]
        things.append(Thing(name, (left, top, right, bottom)))
    return (picture + random.integers(-25, 26, picture.shape)).astype(np.uint8), tuple(things)


def seeds_of(part: str, count: int) -> range:
    return range(FIRST[part], FIRST[part] + count)


def voc_text(things: tuple[Thing, ...], size: tuple[int, int] = SIZE) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for name, (left, top, right, bottom) in things
    )
    return f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{objects}</annotation>"


def write_voc(root: Path, counts: Mapping[str, int]) -> Path:
    lists = root / "ImageSets" / "Main"
    for folder in (root / "JPEGImages", root / "Annotations", lists):
        folder.mkdir(parents=True)
    for part, count in counts.items():
        for seed in seeds_of(part, count):
            picture, things = draw_things(seed)
            Image.fromarray(picture).save(root / "JPEGImages" / f"{seed}.png")
            (root / "Annotations" / f"{seed}.xml").write_text(voc_text(things))
        if part:
            (lists / f"{part}.txt").write_text("".join(f"{seed}\n" for seed in seeds_of(part, count)))
    return root


def coco_document(seeds: range) -> dict[str, Any]:
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": 7, "name": "dot"}, {"id": 3, "name": "cell"}]
    for seed in seeds:
        document["images"].append({"id": seed, "file_name": f"{seed}.png", "height": SIZE[0], "width": SIZE[1]})
        for name, (left, top, right, bottom) in draw_things(seed)[1]:
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": seed,
                    "category_id": {"dot": 7, "cell": 3}[name],
                    "bbox": [left, top, right - left, bottom - top],
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                    "iscrowd": 0,
                }
            )
    return document


def write_coco(root: Path, counts: Mapping[str, int]) -> Path:
    (root / "annotations").mkdir(parents=True)
    for part, count in counts.items():
        folder = root / f"{part}2017"
        folder.mkdir()
        for seed in seeds_of(part, count):
            Image.fromarray(draw_things(seed)[0]).save(folder / f"{seed}.png")
        text = json.dumps(coco_document(seeds_of(part, count)))
        (root / "annotations" / f"instances_{part}2017.json").write_text(text)
    return root


def write_yolo(root: Path, counts: Mapping[str, int]) -> Path:
    for part, count in counts.items():
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        for seed in seeds_of(part, count):
            picture, things = draw_things(seed)
            Image.fromarray(picture).save(root / "images" / part / f"{seed}.png")
            lines = [
                f"{NAMES.index(name)} {(left + right) / 2 / SIZE[1]} {(top + bottom) / 2 / SIZE[0]} "
                f"{(right - left) / SIZE[1]} {(bottom - top) / SIZE[0]}\n"
                for name, (left, top, right, bottom) in things
            ]
            (root / "labels" / part / f"{seed}.txt").write_text("".join(lines))
    lines = [f"{part}: images/{part}\n" for part in counts]
    (root / "data.yaml").write_text("".join(lines) + f"names: {list(NAMES)}\n")
    return root


def write_instances(root: Path, counts: Mapping[str, int]) -> Path:
    for part, count in counts.items():
        for kind in ("PNGImages", "ThingMasks"):
            (root / part / kind).mkdir(parents=True)
        for seed in seeds_of(part, count):
            picture, things = draw_things(seed)
            numbers = np.zeros(SIZE, np.uint8)
            for number, (_, (left, top, right, bottom)) in enumerate(things, 1):
                numbers[top:bottom, left:right] = number
            Image.fromarray(picture).save(root / part / "PNGImages" / f"{seed}.png")
            Image.fromarray(numbers).save(root / part / "ThingMasks" / f"{seed}_mask.png")
    return root
