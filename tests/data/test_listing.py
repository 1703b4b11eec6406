import os
from pathlib import Path

import pytest

from conftest import without_rights
from photographs import write_class, write_folder
from striate.data.listing import list_data, list_images
from striate.errors import UsageError


def test_lists_one_folder_of_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"": 2})
    listing = list_data(tmp_path)
    assert listing.names == ("blue", "green", "red")
    assert listing.parts == ("",)
    assert [(item.path.parent.name, item.label) for item in listing.items] == [
        (name, name) for name in ("blue", "green", "red") for _ in range(2)
    ]


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_lists_parts(tmp_path: Path, val: str) -> None:
    write_folder(tmp_path, {"train": 3, val: 2, "test": 1})
    (tmp_path / "notes").mkdir()
    listing = list_data(tmp_path)
    assert {part: len(listing.of(part)) for part in listing.parts} == {"train": 9, "val": 6, "test": 3}
    assert listing.others == (tmp_path / "notes",)
    assert set(listing.classes) == {"train", "val", "test"}


def test_two_names_of_one_part_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 1, "val": 1, "valid": 1})
    with pytest.raises(UsageError, match="received val and valid"):
        list_data(tmp_path)


def test_a_class_may_be_called_test_where_there_is_no_train(tmp_path: Path) -> None:
    write_class(tmp_path / "test", (1, 1, 1), [1])
    write_class(tmp_path / "other", (2, 2, 2), [2])
    assert list_data(tmp_path).names == ("other", "test")


def test_passes_over_what_is_hidden_or_no_image_and_says_so(tmp_path: Path) -> None:
    write_folder(tmp_path, {"": 1})
    write_class(tmp_path / "red" / ".ipynb_checkpoints", (9, 9, 9), [5])
    write_class(tmp_path / ".thumbnails", (9, 9, 9), [6])
    (tmp_path / "red" / "notes.txt").write_text("x")
    (tmp_path / "red" / ".DS_Store").write_text("x")
    (tmp_path / "readme.md").write_text("x")
    listing = list_data(tmp_path)
    assert len(listing.items) == 3
    assert set(listing.hidden) == {tmp_path / "red" / ".ipynb_checkpoints", tmp_path / ".thumbnails"}
    assert set(listing.others) == {tmp_path / "red" / "notes.txt", tmp_path / "readme.md"}


def test_finds_images_of_folders_in_folders_and_through_links_but_not_in_circles(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"": 1})
    write_class(tmp_path / "data" / "red" / "deep" / "deeper", (9, 9, 9), [7])
    write_class(tmp_path / "elsewhere", (9, 9, 9), [8])
    (tmp_path / "data" / "red" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "red" / "deep" / "up").symlink_to(tmp_path / "data" / "red")
    assert len([item for item in list_data(tmp_path / "data").items if item.label == "red"]) == 3
    assert len(list_images(tmp_path / "data")) == 5


def test_names_of_any_script_are_names(tmp_path: Path) -> None:
    for name in ("花", "с пробелом", "line\nbreak"):
        write_class(tmp_path / name, (1, 2, 3), [len(name)])
    assert list_data(tmp_path).names == ("line\nbreak", "с пробелом", "花")
    broken = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    write_class(broken, (1, 2, 3), [9])
    with pytest.raises(UsageError, match="names in UTF-8.*Rename that folder"):
        list_data(tmp_path)


def test_folders_that_may_not_be_read_are_refused_with_their_name() -> None:
    with without_rights() as folder:
        write_folder(folder, {"": 1})
        (folder / "red").chmod(0)
        with pytest.raises(UsageError, match="red; received Permission denied"):
            list_data(folder)


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_tables_of_classes_and_of_numbers(tmp_path: Path) -> None:
    listing = list_data(
        table(tmp_path / "a.csv", "\ufeffpath,label,split\nb.png,cat,val\n\na.png,dog,train\nc.png,cat,train\n")
    )
    assert [(item.path, item.part, item.label) for item in listing.items] == [
        (tmp_path / "a.png", "train", "dog"),
        (tmp_path / "c.png", "train", "cat"),
        (tmp_path / "b.png", "val", "cat"),
    ]
    assert listing.classes == {"train": ("cat", "dog"), "val": ("cat",)}
    numbers = list_data(table(tmp_path / "n.csv", 'number,path\n1.5,"a,b.png"\n-2e3,/x/c.png\n'))
    assert numbers.has_numbers
    assert [(item.path, item.label) for item in numbers.items] == [
        (tmp_path / "a,b.png", 1.5),
        (Path("/x/c.png"), -2000.0),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "columns none"),
        ("a.png,cat\n", "columns 'a.png', 'cat'"),
        ("path,lable\na.png,cat\n", "Did you mean label"),
        ("path,label,extra\na,b,c\n", "'extra'"),
        ("path,label,label\na,b,c\n", "columns"),
        ("path,label\na.png\n", "1 cells in line 2, not 2"),
        ("path,label\n,cat\n", "an empty path in line 2"),
        ("path,label\na.png,\n", "an empty label in line 2"),
        ("path,number\na.png,3\nb.png,old\n", "'old' in line 3, which is no number"),
        ("path,number\na.png,inf\n", "'inf' in line 2, which is no number"),
        ("path,label,split\na,b,learn\n", "split 'learn' in line 2"),
        ("path,label,split\na,b,val\n", "no line with split train"),
        ("path,label,split\na,b,train\nc,d,\n", "lines with a split and lines without"),
    ],
)
def test_tables_that_cannot_be_read_say_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match="a CSV table") as caught:
        list_data(table(tmp_path / "a.csv", text))
    assert said in str(caught.value)


def test_a_table_of_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\0\1")
    with pytest.raises(UsageError, match="a CSV table"):
        list_data(tmp_path / "a.csv")


def test_folders_without_images_are_refused_with_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="received a folder with a"):
        list_data(tmp_path)
    write_class(tmp_path, (1, 2, 3), [1])
    (tmp_path / "a").rmdir()
    with pytest.raises(UsageError, match=r"a folder with 001\.png.*named for its class"):
        list_data(tmp_path)
