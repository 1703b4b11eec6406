import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from photographs import COLOURS, draw, write_class, write_folder
from striate.data.checks import find_problems
from striate.data.findings import Finding
from striate.data.inspection import inspect_file, inspect_files
from striate.data.listing import Item, list_data
from striate.data.reading import Reading
from striate.data.sets import ImageFiles, ImageSet
from striate.data.source import finish, open_data, read_part
from striate.errors import UsageError


def findings(root: Path, *, decode: bool = True) -> list[Finding]:
    listing = list_data(root)
    return find_problems(listing, list(inspect_files(listing.items, decode=decode)))


def kinds(root: Path) -> set[str]:
    return {finding.kind for finding in findings(root)}


def paths_of(part: ImageSet) -> tuple[Path, ...]:
    assert isinstance(part, ImageFiles)
    return part.paths


def test_good_data_give_nothing_to_say(tmp_path: Path) -> None:
    assert findings(write_folder(tmp_path, {"train": 3, "val": 2, "test": 2})) == []


def test_what_is_there_twice_is_told_by_where_it_is(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 3, "val": 2})
    train, val = tmp_path / "train", tmp_path / "val"
    shutil.copy(train / "red" / "000.png", train / "red" / "copy.png")
    shutil.copy(train / "red" / "001.png", train / "blue" / "copy.png")
    shutil.copy(train / "red" / "002.png", val / "red" / "copy.png")
    # Other bytes, the same pixels.
    Image.open(val / "blue" / "1200.png").save(val / "blue" / "again.bmp")
    found = {finding.kind: [file.item.path.name for file in finding.files] for finding in findings(tmp_path)}
    assert found.pop("two labels") == ["copy.png", "001.png"]
    assert found.pop("two parts") == ["002.png", "copy.png"]
    assert "duplicate" in found
    assert [finding.severe for finding in findings(tmp_path)] == [True, True, False, False]
    quick = [finding.kind for finding in findings(tmp_path, decode=False)]
    assert quick == ["two labels", "two parts", "duplicate"]  # Bytes alone are compared.


def test_classes_that_cannot_be_learned_are_told(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 2, "val": 1})
    (tmp_path / "train" / "yellow").mkdir()
    write_class(tmp_path / "val" / "purple", (90, 0, 90), [5])
    shutil.rmtree(tmp_path / "val" / "red")
    found = {finding.kind: finding for finding in findings(tmp_path)}
    assert found["empty class"].text == "'yellow' has no image in train"
    assert found["unknown class"].text == "val has purple, which train has not"
    assert found["missing class"].text == "val has no image of red, yellow"
    assert [found[kind].severe for kind in ("empty class", "unknown class", "missing class")] == [True, True, False]
    (tmp_path / "train" / "yellow").rmdir()
    with pytest.raises(UsageError, match="received val has purple, which train has not"):
        open_data(str(tmp_path), 0)


def test_one_class_and_very_uneven_ones(tmp_path: Path) -> None:
    write_class(tmp_path / "red", COLOURS["red"], range(20))
    assert kinds(tmp_path) == {"one class"}
    write_class(tmp_path / "blue", COLOURS["blue"], [50, 51])
    (uneven,) = findings(tmp_path)
    assert uneven.text == "red has 20 images, blue 2"


def test_bad_files_are_told_with_the_reason(tmp_path: Path) -> None:
    write_folder(tmp_path, {"": 4})
    red = tmp_path / "red"
    (red / "text.jpg").write_text("just text")
    (red / "empty.png").touch()
    draw(COLOURS["red"], 1, (300, 300)).save(red / "cut.jpg")
    whole = (red / "cut.jpg").read_bytes()
    (red / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (red / "gone.png").symlink_to(tmp_path / "nowhere.png")
    for decode in (True, False):
        bad = {f.files[0].item.path.name: f.text for f in findings(tmp_path, decode=decode) if f.kind == "unreadable"}
        assert set(bad) == {"text.jpg", "empty.png", "cut.jpg", "gone.png"}
        assert "truncated" in bad["cut.jpg"]
        assert "an empty file" in bad["empty.png"]
        assert "No such file" in bad["gone.png"]
    with pytest.raises(UsageError, match="4 bad: .*--skip-bad"):
        open_data(str(tmp_path), 0)
    splits = open_data(str(tmp_path), 0, Reading(skip_bad=True))
    assert sum(map(len, splits.parts.values())) == 12
    assert "images that cannot be read, left out: 4" in splits.notes


def test_a_whole_jpeg_is_not_decoded_by_the_quick_look_and_one_with_bytes_behind_it_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    draw(COLOURS["red"], 1).save(path)
    assert inspect_file(Item(path, "", "red"), decode=False).pixels_digest == ""
    path.write_bytes(path.read_bytes() + b"\0" * 10_000)
    looked = inspect_file(Item(path, "", "red"), decode=False)
    assert looked.problem == ""
    assert looked.pixels_digest != ""


def test_more_processes_see_the_same(tmp_path: Path) -> None:
    listing = list_data(write_folder(tmp_path, {"": 30}))
    assert list(inspect_files(listing.items, decode=True, workers=2)) == list(inspect_files(listing.items, decode=True))


def test_parts_are_read_as_they_are_and_one_folder_is_divided_by_class(tmp_path: Path) -> None:
    divided = open_data(str(write_folder(tmp_path / "a", {"train": 5, "val": 2})), 0)
    assert {name: len(part) for name, part in divided.parts.items()} == {"train": 15, "val": 6}
    assert divided.judged[0] == "val"
    whole = write_folder(tmp_path / "b", {"": 20})
    for copy in range(10):
        shutil.copy(whole / "red" / "000.png", whole / "red" / f"copy{copy}.png")
    splits = open_data(str(whole), 0)
    assert sum(map(len, splits.parts.values())) == 70
    sides = {
        name
        for name, part in splits.parts.items()
        for path in paths_of(part)
        if path.name == "000.png" or path.name.startswith("copy")
        if path.parent.name == "red"
    }
    assert len(sides) == 1
    assert splits.train.classes == ("blue", "green", "red")
    counts = splits.judged[1].labels.bincount()
    assert counts[:2].tolist() == [4, 4]
    assert splits.fingerprint() == open_data(str(whole), 0).fingerprint() != open_data(str(whole), 1).fingerprint()


def test_without_images_to_learn_from_those_to_validate_with_do_not_take_their_place(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 1, "val": 4})
    for path in (tmp_path / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="has no image in train"):
        open_data(str(tmp_path), 0, Reading(skip_bad=True))
    shutil.rmtree(tmp_path / "train")
    for name in ("red", "green", "blue"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert "empty class" in kinds(tmp_path)
    with pytest.raises(UsageError, match="has no image in train"):
        open_data(str(tmp_path), 0)


def test_one_picture_in_two_kinds_of_file_stays_on_one_side_where_all_were_decoded(tmp_path: Path) -> None:
    write_folder(tmp_path, {"": 20})
    for path in list((tmp_path / "red").iterdir()):
        Image.open(path).save(path.with_suffix(".bmp"))
    splits = open_data(str(tmp_path), 0, Reading(skip_bad=True))
    stems = [{path.stem for path in paths_of(part) if path.parent.name == "red"} for part in splits.parts.values()]
    assert sum(map(len, stems)) == len(set.union(*stems)) == 20


def test_a_part_is_numbered_as_the_network_has_its_classes() -> None:
    names = tuple(sorted(map(str, range(12))))  # "10" and "11" before "2"
    part, images = finish(read_part("digits", "test", names))
    _, known = open_data("digits", 0).judged
    assert part == "test"
    assert [names[label] for label in images.labels] == [known.classes[label] for label in known.labels]
    with pytest.raises(UsageError, match="numbers of images.*received classes, in digits"):
        finish(read_part("digits", None, ()))
    with pytest.raises(UsageError, match="received 5, 6, 7, 8, 9 besides"):
        finish(read_part("digits", None, tuple("01234")))


def test_numbers_come_from_tables(tmp_path: Path) -> None:
    write_folder(tmp_path, {"": 10})
    lines = [f"red/{place:03}.png,{place / 2}" for place in range(10)]
    (tmp_path / "ages.csv").write_text("\n".join(["path,number", *lines]))
    splits = open_data(str(tmp_path / "ages.csv"), 0)
    assert splits.train.classes == ()
    assert splits.train.labels.dtype == torch.float64  # Seconds since 1970 differ in their last digits.
    assert sorted(torch.cat([part.labels for part in splits.parts.values()]).tolist()) == [n / 2 for n in range(10)]


def test_grey_images_have_one_channel_and_mixed_ones_three(tmp_path: Path) -> None:
    for place, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for seed in range(4):
            draw((99, 99, 99), 10 * place + seed).convert("L").save(tmp_path / name / f"{seed}.png")
    assert open_data(str(tmp_path), 0).train.channels == 1
    draw((99, 99, 99), 77).save(tmp_path / "a" / "colour.png")
    assert open_data(str(tmp_path), 0).train.channels == 3


def test_images_are_read_when_they_are_asked_for_and_cut_to_size(tmp_path: Path) -> None:
    splits = open_data(str(write_folder(tmp_path, {"": 6})), 0).prepared(3, (16, 16), 1.0)
    assert isinstance(splits.train, ImageFiles)
    pixels = splits.train.pixels()
    assert pixels.shape == (len(splits.train), 3, 16, 16)
    order = ("blue", "green", "red")  # RGB's channels are the other way round.
    for image, label in zip(pixels, splits.train.labels, strict=True):
        assert order[int(image.float().mean((1, 2)).argmax().neg() + 2)] == order[label]
    assert torch.equal(splits.train.subset([2, 0]).pixels(), pixels[[2, 0]])


def test_the_flowers_have_three_pairs_one_of_them_under_two_names(shared_data: Callable[[str], Path]) -> None:
    found = [finding for finding in findings(shared_data("flowers5"), decode=False) if finding.files]
    assert sorted(finding.kind for finding in found) == ["duplicate", "duplicate", "two labels"]
    (contradiction,) = (finding for finding in found if finding.kind == "two labels")
    assert {file.item.path.name for file in contradiction.files} == {"15922772266_1167a06620.jpg"}
    assert {file.item.label for file in contradiction.files} == {"roses", "tulips"}
