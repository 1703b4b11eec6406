"""What can be refused before anything heavy is loaded: wrong names, wrong flags, folders that are taken or missing."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from striate.data.names import NAMED, USUALLY_IGNORED, MaskOptions, find_data
from striate.errors import UsageError, nearest
from striate.jobs.networks import InputSpec
from striate.pretrained import HUB
from striate.training.config import TrainConfig, changed_settings, load_config
from striate.training.fields import ImageSize
from striate.training.folder import RunFolder
from striate.units import parse_bytes
from striate.weights import find_weights, read_weights_config
from striate.zoo import find_model

STANDARD_INPUT = "-"
SPLITS = ("train", "val", "test")


# What networks of each kind are for, and which are.
NETWORKS = {
    "classify": ("whole images", "Such as mobilenet_v2;"),
    "segment": ("each pixel", "Such as fcn8s;"),
    "detect": ("finding things", "Such as faster_rcnn;"),
}

LEARNED = {"classify": "of images as a whole", "segment": "a class for each pixel", "detect": "boxes around things"}


def _network_task(task: str) -> str:
    """Return the kind of network that something is learned with: numbers are, as classes are."""
    return "classify" if task == "regress" else task


def train_config(*layers: Mapping[str, Any], resume: str | Path | None = None) -> TrainConfig:
    """Return the config that files and flags ask for, later ones over earlier ones, or that of a run to resume.

    Raises:
        UsageError: for anything that `check_training` refuses, and for a wrong key or value.
    """
    if resume is None:
        config = load_config(*layers)
    else:
        config = load_config(RunFolder.find(resume).config().model_dump(), *layers)
    check_training(config, resume)
    return config


def check_training(config: TrainConfig, resume: str | Path | None = None) -> None:
    """Refuse what a training run could not begin with.

    Raises:
        UsageError: for an unknown network or data set, an output that is taken, or a resumed run with other settings.
    """
    entry = find_model(config.model)
    if config.task is not None and _network_task(config.task) != entry.task:
        wanted, such = NETWORKS[_network_task(config.task)]
        raise UsageError(
            expected=f"a network for {wanted}, with --task {config.task}",
            received=config.model,
            remedy=f"{such} `striate models` lists them all.",
        )
    find_data(config.data)
    # A run that goes on has kept what its file of classes said.
    mask_options(entry.task, config.classes if resume is None else None, config.ignore)
    _expect_flags(config, entry.task)
    for size in (config.cache, config.features):
        if size is not None:
            parse_bytes(size)
    if resume is None:
        if config.pretrained not in (None, HUB) and not Path(str(config.pretrained)).exists():
            raise UsageError(
                expected="--pretrained as a safetensors file, a folder of weights, a run, or hub",
                received=f"{config.pretrained!r}, which is not there",
                remedy=f"A relative path counts from this folder: {Path.cwd()}.",
            )
        if config.output is not None:
            RunFolder.expect_free(config.output)
    else:
        expect_unchanged(RunFolder.find(resume).config().model_dump(), config.model_dump())


def _expect_flags(config: TrainConfig, task: str) -> None:
    """Refuse what is for networks of another kind."""
    whole, pixels = ("classify",), ("segment",)
    both = whole + pixels
    asked: list[tuple[str, bool, tuple[str, ...]]] = [  # Whether each is asked for, and what it is for.
        ("--mixup", config.mixup > 0, whole),
        ("--smoothing", config.smoothing > 0, whole),
        ("--loss mse", config.loss == "mse", whole),
        ("--balance sampling", config.balance == "sampling", whole),
        ("--probe", config.probe, whole),
        (f"--loss {config.loss}", "dice" in config.loss, pixels),
        ("--balance loss", config.balance == "loss", both),
        ("--monitor loss", config.monitor == "loss", both),
        ("--shift", config.shift > 0, both),
        ("--rotate", config.rotate > 0, both),
        ("--zoom", config.zoom > 0, both),
        ("--crop-pct", config.crop_pct is not None, both),
    ]
    for flag, is_asked, tasks in asked:
        if is_asked and task not in tasks:
            others = " or ".join(LEARNED[each].removeprefix("of ") for each in tasks)
            raise UsageError(
                expected=f"no {flag} with {config.model}, which learns {LEARNED[task]}",
                received="it",
                remedy=f"It is for {others}; leave it out, or take a recipe that does.",
            )


def mask_options(task: str | None, classes: str | Path | None, ignore: Sequence[str]) -> MaskOptions | None:
    """Return how masks are read; None where there are none.

    Raises:
        UsageError: where there is no such file of classes, or it is given without masks.
    """
    if task != "segment" and tuple(ignore) != USUALLY_IGNORED:
        raise UsageError(
            expected="--ignore with masks",
            received="it for whole images",
            remedy="Say --task segment, or leave it out.",
        )
    if classes is not None and (task != "segment" or not Path(classes).is_file()):
        raise UsageError(
            expected="--classes as a text file with a class in each line, for masks",
            received=f"{str(classes)!r}, which is none" if task == "segment" else "it for whole images",
            remedy=f"A relative path counts from this folder: {Path.cwd()}."
            if task == "segment"
            else "Say --task segment, or leave it out.",
        )
    if task != "segment":
        return None
    return MaskOptions(None if classes is None else Path(classes), tuple(ignore))


def parse_input(text: str) -> InputSpec:
    """Read one argument of a network, such as ``3x224x224`` or ``128:int64``.

    Raises:
        UsageError: for anything else.
    """
    sides, _, dtype = text.lower().partition(":")
    shape = tuple(int(side) for side in sides.split("x") if side.isdecimal())
    if len(shape) != sides.count("x") + 1 or min(shape) < 1:
        raise UsageError(
            expected="--input as channels x height x width such as 3x224x224, or SHAPE:TYPE such as 128:int64",
            received=repr(text),
            remedy="All sides are 1 or more; the batch is --batch-size.",
        )
    return InputSpec(shape, dtype or None)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read a side, or HEIGHTxWIDTH; None for None.

    Raises:
        UsageError: for anything else.
    """
    try:
        size: tuple[int, int] | None = TypeAdapter(ImageSize | None).validate_python(text)
    except ValidationError as error:
        raise UsageError(
            expected="--image-size as a side such as 32, or HEIGHTxWIDTH such as 32x24",
            received=repr(text),
            remedy="Both sides are 1 or more.",
        ) from error
    return size


def check_prediction(run: str | Path, images: Sequence[str | Path], limit: int | None = None) -> None:
    """Refuse what could not be predicted.

    Raises:
        UsageError: where there is no trained network, no image of that name, or less than one image is wanted.
    """
    if limit is not None and limit < 1:
        raise UsageError(expected="a limit of 1 image or more", received=str(limit), remedy="Leave it out for all.")
    read_weights_config(find_weights(run))
    own = own_data(run)
    for image in images:
        is_own = own is not None and is_same_data(own, image)
        if str(image) != STANDARD_INPUT and not is_own and not Path(image).exists():
            raise UsageError(
                expected="image files, folders of them, - for standard input, or the data that the run was trained on",
                received=f"{str(image)!r}, which is none of these",
                remedy=f"Check the path; the sets with a name are: {', '.join(NAMED)}.",
            )


def check_export(run: str | Path, images: Sequence[str | Path]) -> None:
    """Refuse what could not be exported.

    Raises:
        UsageError: where there is no trained network or no image to check it on, it finds things, or ONNX is not
            installed.
    """
    config = read_weights_config(find_weights(run))
    if config.task == "detect":
        raise UsageError(
            expected="a network with one answer for each image or pixel",
            received=f"{config.model}, which says {LEARNED['detect']}",
            remedy="What drops boxes that overlap is no operator of ONNX here; `striate predict` runs it.",
        )
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UsageError(
            expected="onnx, onnxscript and onnxruntime, to export",
            received=f"no {', '.join(missing)}",
            remedy="Install them: pip install 'striate[export]'.",
        )
    check_prediction(run, images)
    expect_images(run, images, "to check the exported network on")


def expect_images(run: str | Path, images: Sequence[str | Path], what_for: str) -> None:
    """Refuse to look for images where none are named and nothing says what a network was trained on.

    Raises:
        UsageError: for weights without a run.
    """
    if not images and own_data(run) is None:
        raise UsageError(
            expected=f"images {what_for}",
            received="weights without a run, which would say what they were trained on",
            remedy="Name some image files, or a folder of them.",
        )


def check_val(
    run: str | Path,
    data: str | None,
    split: str | None,
    classes: str | Path | None = None,
    ignore: str | None = None,
) -> MaskOptions | None:
    """Refuse what a network could not be judged by; return how its masks are read, where somebody says.

    Raises:
        UsageError: where there is no trained network, no such data, or no part of that name.
    """
    task = read_weights_config(find_weights(run)).task
    masks = mask_options(task, classes, USUALLY_IGNORED if ignore is None else ignore.split(","))
    if data is not None:
        find_data(data)
    elif own_data(run) is None:
        raise UsageError(
            expected="the data to judge by",
            received="weights without a run, which would say what they were trained on",
            remedy="Name a folder with a folder of images for each class.",
        )
    if split is not None and split not in SPLITS:
        raise UsageError(expected="--split", received=repr(split), remedy=nearest(split, SPLITS))
    return masks if classes is not None or ignore is not None else None


def own_data(run: str | Path) -> str | None:
    """Return the data that a run was trained on, or None for weights without a run."""
    folder = RunFolder(Path(run))
    return folder.config().data if folder.args.is_file() else None


def is_same_data(own: str, name: str | Path) -> bool:
    """Tell whether ``name`` is the data that a run was trained on, ``own``, rather than images or other data."""
    return own == (str(Path(name).resolve()) if Path(name).exists() else str(name))


def expect_unchanged(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Refuse to resume a run with other settings.

    Raises:
        UsageError: naming what differs.
    """
    changed = changed_settings(before, after)
    if changed:
        raise UsageError(
            expected="the run as it was begun",
            received=", ".join(changed),
            remedy="Leave that as it was, or start a new run; only the number of workers and the time between "
            "checkpoints may change.",
        )


def parse_shapes(
    inputs: Sequence[str], image_size: str | None, in_chans: int | None
) -> tuple[list[InputSpec], tuple[int, int] | None]:
    """Read ``--input`` and ``--image-size``, of which only one may be given.

    Raises:
        UsageError: for both, and as `parse_input` and `parse_size` do.
    """
    shapes, size = [parse_input(text) for text in inputs], parse_size(image_size)
    if shapes and (size or in_chans):
        raise UsageError(
            expected="either --input or --image-size and --in-chans",
            received="both",
            remedy="--input 3x224x224 says all of it.",
        )
    return shapes, size


def check_page(html: Path | None) -> None:
    """Refuse a folder where a file is to be written.

    Raises:
        UsageError: for a folder.
    """
    if html is not None and html.is_dir():
        raise UsageError(
            expected="--html as a file to write", received=f"{html}, a folder", remedy="Name a file, such as page.html."
        )


def check_folder(output: Path | None) -> None:
    """Refuse a file where a folder is to be.

    Raises:
        UsageError: for a file.
    """
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(
            expected="--output as a folder to write into", received=f"{output}, a file", remedy="Name a folder."
        )
