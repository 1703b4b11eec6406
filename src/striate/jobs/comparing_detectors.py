"""The R-CNN line and YOLO on the same images, from the same backbone: how right, how fast and how large each is.

Where the time of an image goes is what the papers are about: R-CNN waits for proposals and then runs a network on each
of them, Fast R-CNN runs it once but still waits, and Faster R-CNN and YOLO make their boxes themselves.
"""

import platform
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from striate.costing.verify import measure_peak
from striate.counted import Counted
from striate.data.sets import Splits
from striate.data.source import Opening, finish, read_data
from striate.data.transforms import to_input
from striate.detection.detector import Detector
from striate.detection.selective_search import selective_search
from striate.errors import UsageError, nearest
from striate.graph.programs import Inference
from striate.inference.folding import make_ready
from striate.jobs.own_data import own_splits, reading_of, record_of
from striate.jobs.preparation import find_beginning, outline
from striate.jobs.proposing import search_images
from striate.jobs.searched import proposals_of
from striate.jobs.stages import Stages
from striate.jobs.train import TrainRecord, train
from striate.jobs.usage import expect_unchanged
from striate.pretrained import HUB
from striate.training.config import TrainConfig, load_config, read_recipe
from striate.training.folder import RunFolder
from striate.units import format_number
from striate.zoo import find_model, load_network

# The networks that are compared, in the order of their papers, and what each is trained with.
RECIPES = {
    "rcnn": "rcnn",
    "fast_rcnn": "fast-rcnn",
    "faster_rcnn": "detect",
    "yolo": "yolo",
    "yolov3": "yolov3",
}
THEIRS = {"model", "task", "data", "output"}
SHARED: dict[str, Any] = {"image_size": "384x512", "memory": "80%"}
OUTPUT = "runs/compare/detectors"
TIMED = 10  # Images.


class Timing(Counted):
    """Images are being looked at, one by one."""

    what = "timing"


class Split(NamedTuple):
    """Where the time of an image goes, in seconds.

    Args:
        proposals: what makes boxes in which something may be: a search, or the part of the network that does it.
        features: the layers of the backbone.
        heads: all else.
    """

    proposals: float
    features: float
    heads: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


@dataclass(frozen=True, slots=True)
class DetectorWorth:
    """What one network is worth.

    Args:
        model: its name.
        ap: average precision on the test images, as COCO takes it.
        ap50: at an IoU of .50.
        seconds: for an image, the median of several, one at a time.
        predicting: bytes that the network takes at most for one image.
        training: bytes that it took at most to learn; None where that was not measured.
        disk: bytes of proposals and features.
        trained: seconds that it learned for; the search for proposals, of all images, as the timed ones took, and the
            last stages since they were last begun included.
        parameters: of the network.
    """

    model: str
    ap: float
    ap50: float
    seconds: Split
    predicting: int
    training: int | None
    disk: int
    trained: float
    parameters: int


@dataclass(frozen=True, slots=True)
class ComparedDetectors:
    """What several networks are worth on the same images.

    Args:
        data: the images.
        tested: how many of them.
        timed: how many of these.
        backbone: of all.
        device: where they were timed, and their peaks at prediction taken.
        worth: of each, in the order of their papers.
    """

    data: str
    tested: int
    timed: int
    backbone: str
    device: str
    worth: tuple[DetectorWorth, ...]


class PlannedRun(NamedTuple):
    """One network that is to be trained.

    Args:
        model: its name.
        config: of its run.
        folder: of its run.
    """

    model: str
    config: TrainConfig
    folder: Path


def planned_runs(
    data: str, only: Sequence[str] = (), settings: Mapping[str, Any] | None = None, output: str | Path = OUTPUT
) -> list[PlannedRun]:
    """Return what is to be trained.

    Args:
        data: images with boxes.
        only: of `RECIPES`; all by default.
        settings: of all trainings, as a config file has them, over each one's recipe; ``model_kwargs`` are put beside
            the recipe's.
        output: folder of the runs, one for each network.

    Raises:
        UsageError: for an unknown network, or settings that cannot be, of any of them.
    """
    for name in only:
        if name not in RECIPES:
            raise UsageError(expected="detectors to compare", received=name, remedy=nearest(name, RECIPES))
    for key in THEIRS & (settings or {}).keys():
        raise UsageError(
            expected="settings of all networks together",
            received=f"{key}, which each has of its own",
            remedy="Leave it out; --only picks networks, --data and --output say where.",
        )
    runs = []
    for model, recipe in RECIPES.items():
        if not only or model in only:
            own, shared = read_recipe(recipe), {**SHARED, **(settings or {})}
            options = _options_of(model, shared.pop("model_kwargs", {}))
            folder = Path(output) / model
            if isinstance(shared.get("pretrained"), str) and shared["pretrained"] != HUB:
                shared["pretrained"] = str(Path(shared["pretrained"]).resolve())
            config = load_config(own, shared, {"data": data, "model_kwargs": options, "output": str(folder)})
            outline(config, find_beginning(config, None))
            runs.append(PlannedRun(model, config, folder))
    return runs


def _options_of(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without those that only others of the compared networks have."""
    known = {name: set(signature(find_model(name).build).parameters) for name in RECIPES}
    others = set().union(*known.values()) - known[model]
    return {option: value for option, value in options.items() if option not in others}


def run_one(planned: PlannedRun) -> Iterator[TrainRecord]:
    """Train one network, or go on where it was cut off; nothing where it was trained to its end."""
    folder = RunFolder(planned.folder)
    if not folder.args.is_file():
        yield from train(planned.config)
    elif folder.read_summary() is None:
        yield from train(planned.config, resume=planned.folder)


def expect_own(runs: Sequence[PlannedRun]) -> Iterator[Opening]:
    """Refuse runs that are there already, and are others: of other images, other weights or other settings.

    Raises:
        UsageError: naming what differs.
    """
    there = [(run, RunFolder(run.folder)) for run in runs if RunFolder(run.folder).args.is_file()]
    if not there:
        return
    config = there[0][0].config
    splits = yield from read_data(config.data, config.seed, reading_of(config, config.workers))
    found = record_of(splits).fingerprint
    for run, folder in there:
        begun = folder.config()
        expect_unchanged(begun.model_dump(), run.config.model_dump())
        if (begun.pretrained, folder.data_record().fingerprint) != (run.config.pretrained, found):
            others = {
                "other images": folder.data_record().fingerprint != found,
                f"{begun.pretrained} to begin with": begun.pretrained != run.config.pretrained,
            }
            other = " and ".join(name for name, differs in others.items() if differs)
            raise UsageError(
                expected=f"in {run.folder} a run of these images and weights, or none",
                received=f"one with {other}",
                remedy="Give another --output.",
            )


def compare_trained(runs: Sequence[PlannedRun], images: int = TIMED) -> Iterator[Opening | Timing | ComparedDetectors]:
    """Set networks that are trained beside each other, side by side in one go.

    Args:
        runs: what was trained, all on the same images: `expect_own` sees to that.
        images: that are timed, the first to test on.
    """
    worth = []
    splits = yield from own_splits(RunFolder(runs[0].folder))
    for place, run in enumerate(runs):
        yield Timing(place, len(runs))
        worth.append(_judge(run, splits, images))
    yield Timing(len(runs), len(runs))
    backbone = str(runs[0].config.model_kwargs.get("backbone", "mobilenet_v2"))
    here = f"{platform.machine()} CPU, {format_number(torch.get_num_threads(), 'thread')}"
    tested = len(splits.judged[1])
    yield ComparedDetectors(runs[0].config.data, tested, min(images, tested), backbone, here, tuple(worth))


def compare_detectors(
    data: str,
    only: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    output: str | Path = OUTPUT,
    images: int = TIMED,
) -> Iterator[Opening | TrainRecord | Timing | ComparedDetectors]:
    """Train networks that find things on the same images, and set them beside each other; the last record is that.

    What was cut off is gone on with by the same call, and what is trained is not trained again. Arguments as for
    `planned_runs` and `compare_trained`.

    Raises:
        UsageError: for an unknown network, settings that cannot be, or images without boxes.
        InterruptedRunError: after Ctrl-C or SIGTERM, when all is saved.
    """
    runs = planned_runs(data, only, settings, output)
    yield from expect_own(runs)
    for run in runs:
        yield from run_one(run)
    yield from compare_trained(runs, images)


def _judge(run: PlannedRun, splits: Splits, images: int) -> DetectorWorth:
    """Return what a trained network is worth, by so many of its images."""
    folder = RunFolder(run.folder)
    summary = folder.read_summary()
    assert summary is not None, "it was trained to its end"
    network, config = load_network(run.folder)
    assert isinstance(network, Detector)
    layout, search = make_ready(network), network.search
    unseen = splits.judged[1]
    shown = unseen.prepared(config.in_chans, config.image_size, None)
    times, given = [], list[Tensor]()
    for place in [0, *range(min(images, len(unseen)))]:  # The first warms up.
        picture, searched = unseen.picture(place), 0.0
        if search is not None:
            began = time.perf_counter()
            selective_search(picture.colours(), search.mode)
            searched = time.perf_counter() - began
            given = [proposals_of(picture, search, config.image_size)]
        image = to_input(shown.picture(place), config.preprocessing).contiguous(memory_format=layout)
        times.append(_timed(network, [image, *given], searched))
    split = Split(*(statistics.median(each) for each in zip(*times[1:], strict=True)))
    stages = Stages.read(folder.stages)
    disk, trained = (0, summary.seconds) if stages is None else (stages.kept, summary.seconds + stages.seconds)
    if search is not None:
        every = [each for part in splits.parts.values() for each in finish(search_images(part, search.mode))]
        disk += sum(each.stored for each in every)
        trained += split.proposals * len(every)
    return DetectorWorth(
        model=run.model,
        ap=summary.metrics["ap"],
        ap50=summary.metrics["ap50"],
        seconds=split,
        predicting=measure_peak(Inference(network, [image, *given]), "cpu"),
        training=summary.peaks.get("training"),
        disk=disk,
        trained=trained,
        parameters=summary.parameters,
    )


def _timed(network: Detector, inputs: Sequence[Tensor], searched: float) -> Split:
    """Run a network once, and return where the time went."""
    with torch.inference_mode(), ExitStack() as stack:
        features = stack.enter_context(_stopwatch(list(network.features.children())))
        proposals = stack.enter_context(_stopwatch([network.get_submodule(name) for name in network.proposing]))
        began = time.perf_counter()
        network(*inputs)
        total = time.perf_counter() - began
    return Split(searched + sum(proposals), sum(features), total - sum(proposals) - sum(features))


@contextmanager
def _stopwatch(modules: Sequence[nn.Module]) -> Iterator[list[float]]:
    """Collect the seconds of each call of some modules, none of which calls another."""
    seconds, begun = list[float](), list[float]()

    def begin(*_: object) -> None:
        begun.append(time.perf_counter())

    def end(*_: object) -> None:
        seconds.append(time.perf_counter() - begun.pop())

    handles = [
        hook for each in modules for hook in (each.register_forward_pre_hook(begin), each.register_forward_hook(end))
    ]
    try:
        yield seconds
    finally:
        for handle in handles:
            handle.remove()
