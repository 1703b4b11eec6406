"""Damaged files and nonsense on the command line: an error with a way out, never a traceback or a hang."""

import faulthandler
import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from photographs import draw, write_folder
from striate.data.images import ImageFileError, read_header, read_image
from striate.data.inspection import inspect_file
from striate.data.listing import Item, list_data
from striate.errors import UsageError
from striate.jobs.train import train
from striate.training.config import TrainConfig, load_config, read_config

LONGEST = 60  # seconds that one case may take

relaxed = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
positions = st.floats(0, 1, exclude_max=True)
mutations = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), positions),
        st.tuples(st.just("flip"), positions, st.integers(0, 255)),
        st.tuples(st.just("insert"), positions, st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("repeat"), positions, st.integers(1, 200)),
        st.tuples(st.just("erase"), positions, st.integers(1, 200)),
    ),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, changes: list[Any]) -> bytes:
    for kind, position, *more in changes:
        place = int(position * len(data))
        match kind:
            case "cut":
                data = data[:place]
            case "flip" if data:
                data = data[:place] + bytes([more[0]]) + data[place + 1 :]
            case "insert":
                data = data[:place] + more[0] + data[place:]
            case "repeat":
                data = data[:place] + data[place : place + more[0]] * 2 + data[place + more[0] :]
            case "erase":
                data = data[:place] + data[place + more[0] :]
    return data


class HangError(BaseException):
    """No error of the program's, which would be taken for one of a file's."""


@contextmanager
def ends() -> Iterator[None]:
    """Fail where something hangs."""

    def give_up(_number: int, _frame: object) -> None:
        raise HangError(f"not ended after {LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST)
    faulthandler.dump_traceback_later(2 * LONGEST, exit=True, file=2)  # In what is not Python, no exception comes up.
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def pictures() -> dict[str, bytes]:
    picture, files = draw((120, 90, 60), 3), {}
    for name in ("jpeg", "png", "gif", "bmp", "tiff", "webp", "ppm", "jpeg2000"):
        buffer = io.BytesIO()
        picture.save(buffer, name, **({"compression": "tiff_lzw"} if name == "tiff" else {}))
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    picture.save(buffer, "gif", save_all=True, append_images=[draw((1, 2, 3), 4)])
    files["animated"] = buffer.getvalue()
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", exif=exif)
    files["turned"] = buffer.getvalue()
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((6, 5, 7), np.uint8), photometric="minisblack", metadata=None)
    files["many channels"] = buffer.getvalue()
    return files


PICTURES = pictures()


def read_damaged(path: Path, kind: str, changes: list[Any], channels: int) -> None:
    path.write_bytes(mutate(PICTURES[kind], changes))
    with ends():
        for reader in (read_header, lambda path: read_image(path, channels)):
            with suppress(ImageFileError):
                reader(path)
        inspect_file(Item(path, "", "x"), decode=True)


damaged = given(kind=st.sampled_from(sorted(PICTURES)), changes=mutations, channels=st.sampled_from((1, 3, 4, 7)))


@settings(relaxed, max_examples=100)
@damaged
def test_damaged_pictures_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[Any], channels: int
) -> None:
    read_damaged(tmp_path_factory.getbasetemp() / "damaged.jpg", kind, changes, channels)


@pytest.mark.slow
@settings(relaxed, max_examples=1000)
@damaged
def test_a_thousand_damaged_pictures(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[Any], channels: int
) -> None:
    read_damaged(tmp_path_factory.getbasetemp() / "damaged.jpg", kind, changes, channels)


CONFIG = TrainConfig(data="digits", model="lenet5", model_kwargs={"a": [1, 2]}, memory="1GiB").to_yaml().encode()
TABLE = b'path,label,split\na.png,cat,train\n"b,c.png",dog,train\nd.png,cat,val\n'


@pytest.mark.slow
@settings(relaxed, max_examples=300)
@given(changes=mutations)
def test_damaged_configs_and_tables_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, changes: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    for content, reader in ((CONFIG, lambda: load_config(read_config(path))), (TABLE, lambda: list_data(path))):
        path.write_bytes(mutate(content, changes))
        with ends(), suppress(UsageError):
            reader()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a table of them and a run."""
    root = tmp_path_factory.mktemp("house")
    write_folder(root / "data", {"": 6})
    (root / "table.csv").write_text("path,label\n" + "".join(f"data/red/00{n}.png,{'ab'[n % 2]}\n" for n in range(6)))
    options: dict[str, Any] = {"model": "mlp", "image_size": (8, 8), "model_kwargs": {"hidden_sizes": [4]}, "epochs": 1}
    list(train(TrainConfig(data=str(root / "data"), output=str(root / "run"), **options)))
    return root


VERBS = ("train", "val", "predict", "check", "export", "cost", "plan", "models", "frobnicate")
WORDS = (
    *("data", "run", "table.csv", "data/red/000.png", "run/args.yaml", "nowhere", "digits", "", "-", "--", "/dev/null"),
    *("--model", "mlp", "lenet5", "resnet19", "--image-size", "8", "0", "-1", "8x", "1e9", "--epochs", "1", "--json"),
    *("--split", "val", "--batch-size", "-b", "--skip-bad", "--max-pixels", "--limit", "--top", "--html", "x.html"),
    *("--model-kwargs", "hidden_sizes=[4]", "hidden_sizes=4", "a=[", "--memory", "4GiB", "4G", "1kB", "nan", "\udcff"),
    *(
        "--seed",
        "--lr",
        "--opt",
        "adam",
        "--resume",
        "-c",
        "--plan",
        "--recipe",
        "photos",
        "--output",
        "花",
        "\n",
    ),
)
TINY = ("--model", "mlp", "--image-size", "8", "--model-kwargs", "hidden_sizes=[4]", "--epochs", "1", "--output", "new")
SENSIBLE = (
    ["check", "data", "--json"],
    ["check", "table.csv", "--html", "page.html"],
    ["train", "table.csv", *TINY],
    ["train", "data", *TINY, "--skip-bad"],
    ["train", "--resume", "run"],
    ["train", "-c", "run/args.yaml", "--output", "new"],
    ["val", "run", "data"],
    ["val", "run", "--split", "val", "--json"],
    ["predict", "run", "data/red", "--skip-bad"],
    ["predict", "run", "data/red/000.png", "--jsonl"],
    ["cost", "run"],
)
TARGETS = (
    "data/red/000.png",
    "table.csv",
    "run/args.yaml",
    "run/weights/best/config.json",
    "run/weights/best/model.safetensors",
)


def end_of(arguments: list[str]) -> tuple[int, str]:
    """Run the program in this process; return its status and what it said."""
    from striate.cli.main import run

    sys.argv, code = ["striate", *arguments], 0
    out = io.TextIOWrapper(io.BytesIO(), errors="backslashreplace")
    with redirect_stdout(out), redirect_stderr(out), ends():
        try:
            run()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    out.seek(0)
    return code, out.read()


@pytest.mark.slow
@settings(relaxed, max_examples=700)
@given(
    arguments=st.one_of(
        st.sampled_from(SENSIBLE),
        st.tuples(st.sampled_from(VERBS), st.lists(st.sampled_from(WORDS), max_size=7)).map(lambda t: [t[0], *t[1]]),
    ),
    target=st.sampled_from(TARGETS),
    changes=st.one_of(st.just([]), mutations),
)
def test_nonsense_on_the_command_line_ends_with_a_way_out(
    house: Path,
    tmp_path_factory: pytest.TempPathFactory,
    arguments: list[str],
    target: str,
    changes: list[Any],
) -> None:
    import os
    import shutil

    place = tmp_path_factory.mktemp("case")
    shutil.copytree(house, place, dirs_exist_ok=True)
    args = place / "run" / "args.yaml"
    args.write_text(args.read_text().replace(str(house), str(place)))
    (place / target).write_bytes(mutate((place / target).read_bytes(), changes))
    before = Path.cwd(), sys.argv, sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(b""))
    os.chdir(place)
    try:
        status, said = end_of(arguments)
    finally:
        os.chdir(before[0])
        sys.argv, sys.stdin = before[1:]
        shutil.rmtree(place)
    assert status in (0, 1, 2), said
    assert "Traceback" not in said
    assert "defect of striate" not in said, said
