"""Masks of every kind, files of classes, lists and folders of pairs, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from photographs import write_folder
from scenes import draw_scene, write_scenes
from striate.data.checks import find_problems
from striate.data.images import ImageFileError
from striate.data.levels import read_held
from striate.data.masked import MaskedFiles
from striate.data.masks import find_classes, known_colours, read_mask
from striate.data.names import MaskOptions
from striate.data.pairs import has_pairs, list_pairs
from striate.data.reading import Reading, inspect_all, list_files
from striate.data.source import finish, open_data, read_part
from striate.errors import UsageError

NUMBERS = np.array([[0, 1, 2], [2, 1, 255]], np.uint8)
COLOURS = {0: (10, 20, 30), 1: (128, 64, 128), 2: (0, 0, 0), 255: (255, 255, 255)}
READING = Reading(masks=MaskOptions())


def coloured(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array([[COLOURS[int(number)] for number in row] for row in numbers], np.uint8)


def save_mask(folder: Path, kind: str) -> Path:
    path = folder / f"mask.{'tif' if 'tif' in kind else 'png'}"
    grey = Image.fromarray(NUMBERS)
    if kind == "palette":
        grey.putpalette([level for number in range(256) for level in (number, 0, 255 - number)])
        grey.save(path)
    elif kind == "colours in a palette":
        picture = Image.fromarray(coloured(NUMBERS)).quantize(4)
        assert not np.array_equal(np.asarray(picture), NUMBERS)  # Its numbers are in another order.
        picture.save(path)
    elif kind.startswith("tif of "):
        tifffile.imwrite(path, NUMBERS.astype(kind.removeprefix("tif of ")))
    elif kind == "colours":
        Image.fromarray(coloured(NUMBERS)).save(path)
    elif kind == "colours, see-through":
        Image.fromarray(coloured(NUMBERS)).convert("RGBA").save(path)
    elif kind == "16 bits":
        Image.fromarray(NUMBERS.astype(np.uint16)).save(path)
    elif kind == "grey, see-through":
        grey.convert("LA").save(path)
    elif kind == "tif":
        tifffile.imwrite(path, NUMBERS)
    else:
        grey.save(path)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        *("grey", "palette", "colours", "colours, see-through", "colours in a palette", "16 bits", "grey, see-through"),
        *("tif", "tif of int32", "tif of uint32", "tif of int16"),
    ],
)
def test_masks_of_every_kind_are_the_same_classes(tmp_path: Path, kind: str) -> None:
    path = save_mask(tmp_path, kind)
    lines = [f"{number} thing{number} {' '.join(map(str, COLOURS[number]))}" for number in (0, 1, 2)]
    lines += ["255 unknown 255,255,255"]
    (tmp_path / "classes.txt").write_text("\n".join(lines), encoding="utf-8")
    options = MaskOptions(ignored=("unknown",))
    held = set(np.unique(read_held(path, known_colours(tmp_path, options))).tolist())
    classes = find_classes(tmp_path, options, held)
    assert classes.names == ("thing0", "thing1", "thing2")
    assert classes.colours == tuple(COLOURS[number] for number in (0, 1, 2))
    assert np.array_equal(read_mask(path, classes), NUMBERS)


def test_black_and_white_are_two_classes_where_nothing_is_ignored(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    Image.fromarray(np.array([[255, 0]], np.uint8)).save(tmp_path / "levels.png")
    tifffile.imwrite(tmp_path / "bits.tif", np.array([[True, False]]))
    for name, held in (("bits", {0, 1}), ("levels", {0, 255})):
        classes = find_classes(tmp_path, MaskOptions(ignored=("none",)), held)
        assert classes.names == tuple(str(number) for number in sorted(held))
        for path in tmp_path.glob(f"{name}.*"):
            assert read_mask(path, classes).tolist() == [[1, 0]], path
    with pytest.raises(UsageError) as caught:
        find_classes(tmp_path, MaskOptions(), {0, 255})
    assert "1: 0, 255 (ignored: 255)" in caught.value.received
    assert "--ignore none" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "names", "colours"),
    [
        ("sky\nroad\n\nvoid\n", ("sky", "road"), ()),
        ("sky 1 2 3\nroad 4,5,6\nvoid 0 0 0", ("sky", "road"), ((1, 2, 3), (4, 5, 6))),
        ("1, 2, 3\tsky\n4 5 6 road\n0 0 0 void", ("sky", "road"), ((1, 2, 3), (4, 5, 6))),
        ("sky,1,2,3\nroad sign,4,5,6\nvoid,0,0,0", ("sky", "road sign"), ((1, 2, 3), (4, 5, 6))),
        ("sky\nroute 66\nvoid", ("sky", "route 66"), ()),
        ("0 sky\n1 road\n2 void", ("sky", "road"), ()),
        ("0: sky 1 2 3\n1: road 4 5 6\n2: void 0 0 0", ("sky", "road"), ((1, 2, 3), (4, 5, 6))),
        ("name,r,g,b\nsky,1,2,3\nroad,4,5,6\nvoid,0,0,0", ("sky", "road"), ((1, 2, 3), (4, 5, 6))),
        (
            "# label:color_rgb:parts:actions\nsky:1,2,3::\nroad:4,5,6::\nvoid:0,0,0::",
            ("sky", "road"),
            ((1, 2, 3), (4, 5, 6)),
        ),
    ],
)
def test_files_of_classes_in_the_forms_that_people_write(
    tmp_path: Path, text: str, names: tuple[str, ...], colours: tuple[tuple[int, int, int], ...]
) -> None:
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8")
    found = find_classes(tmp_path, MaskOptions(ignored=("void",)), {0, 1, 2})
    assert (found.names, found.colours) == (names, colours)
    assert {number: found.numbers[number] for number in range(3)} == {0: 0, 1: 1, 2: 255}


@pytest.mark.parametrize(
    ("text", "ignored", "received"),
    [
        ("sky\nsky", "255", "'sky' a second time"),
        ("sky 1 2 3\nroad 1 2 3", "255", "the colour of 'road' a second time"),
        ("sky 1 2 300\nroad", "255", "in line 1"),
        ("1 2 3\nroad", "255", "in line 1"),
        ("sky\nroad", "vod", "'vod'"),
        ("sky 1 2 3\nroad", "255", "1 lines with a colour of 2"),
        ("sky 1 2 3 4\nroad 4 5 6 7", "255", "in line 1"),
        ("sky", "255", "1: 0"),
    ],
)
def test_files_of_classes_that_cannot_be_meant_are_refused(
    tmp_path: Path, text: str, ignored: str, received: str
) -> None:
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        find_classes(tmp_path, MaskOptions(ignored=(ignored,)), {0, 1})
    assert received in caught.value.received


def test_colours_without_names_and_lossy_masks_are_refused(tmp_path: Path) -> None:
    path = save_mask(tmp_path, "colours")
    with pytest.raises(UsageError) as caught:
        find_classes(tmp_path, MaskOptions(), set(np.unique(read_held(path)).tolist()))
    assert "colour 0,0,0, colour 10,20,30" in caught.value.received
    for name in ("mask.jpg", "mask.webp", "mask.jp2"):
        Image.fromarray(NUMBERS).save(tmp_path / name)
        with pytest.raises(ImageFileError, match="only about as they were"):
            read_held(tmp_path / name)
    tifffile.imwrite(tmp_path / "floats.tif", NUMBERS.astype(np.float32))
    with pytest.raises(ImageFileError, match="float32"):
        read_held(tmp_path / "floats.tif")
    tifffile.imwrite(tmp_path / "colours.tif", coloured(NUMBERS).astype(np.uint16), photometric="rgb")
    with pytest.raises(ImageFileError):
        read_held(tmp_path / "colours.tif")


def test_a_pixel_of_no_class_is_refused_when_a_mask_is_read(tmp_path: Path) -> None:
    path = save_mask(tmp_path, "grey")
    classes = find_classes(tmp_path, MaskOptions(), {0, 1})
    with pytest.raises(ImageFileError, match="pixels with 2"):
        read_mask(path, classes)
    Image.fromarray(NUMBERS.astype(np.uint16) * np.uint16(300)).save(tmp_path / "large.png")
    with pytest.raises(ImageFileError, match="pixels with 300, 600, 10964"):
        read_mask(tmp_path / "large.png", classes)


@pytest.mark.parametrize("layout", ["parts first", "kinds first", "capitals", "undivided", "lists", "a list", "ends"])
def test_pairs_are_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    source = write_scenes(tmp_path / "source", {"train": 3, "val": 2})
    root = tmp_path / "data"
    wanted = [("train", f"{seed}.png") for seed in range(3)] + [("val", f"{seed}.png") for seed in (1000, 1001)]
    for part, name in wanted:
        for kind in ("images", "masks"):
            places = {"parts first": f"{part}/{kind}", "kinds first": f"{kind}/{part}"}
            place = (places | {"capitals": f"{kind.title()}/{part.title()}"}).get(layout, kind)
            end = "_mask.png" if layout == "ends" and kind == "masks" else ".png"
            (root / place).mkdir(parents=True, exist_ok=True)
            (root / place / name.replace(".png", end)).write_bytes((source / part / kind / name).read_bytes())
    path = root
    if layout in ("lists", "a list"):
        for part in ("train", "val") if layout == "lists" else ("",):
            lines = [f"images/{name} masks/{name}" for own, name in wanted if part in ("", own)]
            (root / f"{part or 'pairs'}.txt").write_text("\n".join(lines), encoding="utf-8")
        path = root / "pairs.txt" if layout == "a list" else root
    found = list_pairs(path)
    divided = layout in ("parts first", "kinds first", "capitals", "lists")
    assert sorted((item.part, item.path.name) for item in found.items) == sorted(
        (part if divided else "", name) for part, name in wanted
    )
    for item in found.items:
        assert item.mask is not None
        _, mask = draw_scene(int(item.path.stem))
        assert np.array_equal(np.asarray(Image.open(item.mask)), mask)
    assert layout == "a list" or has_pairs(path)


def test_images_without_masks_and_lists_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"train": 3})
    (root / "train" / "masks" / "1.png").unlink()
    with pytest.raises(UsageError) as caught:
        list_pairs(root)
    assert "1 without, such as 1.png" in caught.value.received
    lists = tmp_path / "lists"
    lists.mkdir()
    for line, received in (
        ("../scenes/train/images/0.png", "images/0.png' in line 1"),
        ("../scenes/train/images/0.png ../scenes/train/masks/1.png", "masks/1.png in line 1, which is not there"),
    ):
        (lists / "train.txt").write_text(line, encoding="utf-8")
        with pytest.raises(UsageError) as caught:
            list_pairs(lists)
        assert received in caught.value.received
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="images and their masks"):
        list_pairs(tmp_path / "empty")


def test_two_of_one_name_or_of_one_part_are_refused(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"train": 3, "val": 2})
    twin = root / "train" / "masks" / "1.tif"
    tifffile.imwrite(twin, draw_scene(1)[1])
    with pytest.raises(UsageError, match="1.png and 1.tif"):
        list_pairs(root)
    twin.unlink()
    write_scenes(root, {"validation": 2})
    with pytest.raises(UsageError, match="val and validation"):
        list_pairs(root)


def test_a_list_beside_folders_of_classes_is_no_list_of_pairs(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 3})
    (tmp_path / "train.txt").write_text("train/red/000.png 0\ntrain/green/100.png 1", encoding="utf-8")
    assert not has_pairs(tmp_path)
    assert len(list_files(tmp_path, Reading()).items) == 9


def test_masks_of_which_none_can_be_used_are_said_to_be_bad(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"": 3})
    noise = np.random.default_rng(0)
    for path in (root / "masks").iterdir():
        Image.fromarray(noise.integers(0, 256, (40, 52, 3), np.uint8)).save(path)
    with pytest.raises(UsageError, match="3 bad: images/0.png: its mask 0.png has 2,080 numbers or colours"):
        open_data(str(root), 0, READING)
    listing, files = finish(inspect_all(list_files(root, READING), READING, decode=True))
    assert sum(finding.kind == "mask" for finding in find_problems(listing, files)) == 3


def test_a_class_that_is_nowhere_is_something_to_mend(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"train": 4, "val": 2})
    (root / "classes.txt").write_text("ground\nred\nblue\ngreen", encoding="utf-8")
    listing, files = finish(inspect_all(list_files(root, READING), READING, decode=True))
    severe = [finding.text for finding in find_problems(listing, files) if finding.severe]
    assert severe == ["train has no pixel of green"]
    for path in (root / "val" / "masks").iterdir():
        Image.fromarray(np.full((40, 52), 255, np.uint8)).save(path)
    with pytest.raises(UsageError, match="received none in val"):
        open_data(str(root), 0, READING)


def test_masks_are_kept_decoded_with_their_images(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"train": 4, "val": 2})
    splits = open_data(str(root), 0, READING).prepared(3, (40, 52), None).keeping(1_000_000)
    assert isinstance(splits.train, MaskedFiles)
    first = splits.train.known()
    for path in splits.train.masks:
        path.unlink()
    assert torch.equal(splits.train.known(), first)


def test_masks_are_not_taken_for_classes(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"": 4})
    with pytest.raises(UsageError) as caught:
        list_files(root, Reading())
    assert "--task segment" in caught.value.remedy
    with pytest.raises(UsageError, match="whose images have one class each"):
        open_data("digits", 0, READING)


def test_a_set_is_divided_and_gives_masks_as_they_are(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"": 20}, unknown=3)
    splits = open_data(str(root), 0, READING)
    assert sum(map(len, splits.parts.values())) == 20
    assert splits.test is not None
    seen = set[str]()
    for part in splits.prepared(3, (40, 52), None).parts.values():
        assert isinstance(part, MaskedFiles)
        assert part.classes == ("0", "1", "2")
        for place, (image, mask) in enumerate(zip(part.pixels(), part.known(), strict=True)):
            seed = Path(part.source(place)).stem
            picture, truth = draw_scene(int(seed))
            truth[:, :3] = 255
            assert np.array_equal(image.permute(1, 2, 0).numpy(), picture)
            assert np.array_equal(mask.numpy(), truth)
            seen.add(seed)
    assert seen == {str(seed) for seed in range(20)}


def test_what_is_known_of_a_set_changes_its_fingerprint(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"": 12})
    first = open_data(str(root), 0, READING).fingerprint()
    assert open_data(str(root), 0, READING).fingerprint() == first
    assert open_data(str(root), 0, Reading(masks=MaskOptions(ignored=("2",)))).fingerprint() != first
    (root / "classes.txt").write_text("blue\nred\nground", encoding="utf-8")
    renamed = open_data(str(root), 0, READING).fingerprint()
    (root / "classes.txt").write_text("blue\nground\nred", encoding="utf-8")
    assert len({first, renamed, open_data(str(root), 0, READING).fingerprint()}) == 3
    (root / "classes.txt").unlink()
    mask = np.asarray(Image.open(root / "masks" / "3.png")).copy()
    mask[0, 0] = 1 if mask[0, 0] != 1 else 2
    Image.fromarray(mask).save(root / "masks" / "3.png")
    assert open_data(str(root), 0, READING).fingerprint() != first


def test_a_network_that_knows_more_classes_can_be_judged_by_fewer(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"": 3})
    (root / "classes.txt").write_text("ground\nred\nblue", encoding="utf-8")
    _, images = finish(read_part(str(root), None, ("blue", "sky", "ground", "red"), READING))
    assert isinstance(images, MaskedFiles)
    mask = images.prepared(3, (40, 52), None).known()[0].numpy()
    _, truth = draw_scene(0)
    assert np.array_equal(mask, np.array([2, 3, 0], np.uint8)[truth])
    with pytest.raises(UsageError, match="red besides"):
        finish(read_part(str(root), None, ("blue", "ground"), READING))


def test_masks_that_cannot_be_learned_are_found(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", {"train": 6, "val": 3})
    masks = root / "train" / "masks"
    Image.fromarray(draw_scene(0, (20, 26))[1]).save(masks / "0.png")
    (masks / "1.png").write_bytes(b"no image")
    (root / "val" / "masks" / "1000.png").write_bytes((masks / "2.png").read_bytes())
    Image.fromarray(np.full((40, 52), 7, np.uint8)).save(root / "val" / "masks" / "1001.png")
    (root / "train" / "images" / "4.png").write_bytes((root / "train" / "images" / "3.png").read_bytes())
    reading = READING
    listing, files = finish(inspect_all(list_files(root, reading), reading, decode=True))
    found = {(finding.kind, finding.text) for finding in find_problems(listing, files) if finding.severe}
    assert found == {
        ("mask", "train/images/0.png: a mask of 20x26 for an image of 40x52 pixels"),
        ("mask", "train/images/1.png: its mask 1.png: no image that can be read"),
        ("mask", "val/images/1001.png: its mask has pixels with 7, which are no classes"),
        ("two labels", "train/images/3.png = train/images/4.png"),
    }
    with pytest.raises(UsageError) as caught:
        open_data(str(root), 0, reading)
    assert "3 bad" in caught.value.received
    left = open_data(str(root), 0, Reading(skip_bad=True, masks=MaskOptions()))
    assert {name: len(part) for name, part in left.parts.items()} == {"train": 4, "val": 2}
