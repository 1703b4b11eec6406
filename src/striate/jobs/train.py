"""Train a network on a data set: read, split, build, loop, test once, report."""

import os
import platform
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from shutil import which
from typing import Literal

import torch
from torch import Tensor

from striate.costing.layers import LayerCost, layer_costs, total_parameters
from striate.costing.verify import watched
from striate.data.names import find_data
from striate.data.sets import Splits
from striate.data.source import Opening, read_data
from striate.detection.proposals import ProposalSearch
from striate.detection.rcnn import RCNN
from striate.errors import BudgetError, StriateError, UsageError
from striate.files import load_tensors
from striate.jobs.card import write_card
from striate.jobs.circumstances import circumstances_of, refuse_changes, refuse_other_data
from striate.jobs.own_data import begun_reading, reading_of, record_of
from striate.jobs.preparation import Beginning, Prepared, find_beginning, outline, prepare
from striate.jobs.proposing import Searching
from striate.jobs.report import Tested, test_network, write_report
from striate.jobs.searched import search_of, searched_splits
from striate.jobs.stages import Featuring, Mining, learn_stages
from striate.jobs.train_plan import allowed_changes, fitting_plan, plan_training, smaller_plan
from striate.jobs.usage import check_training
from striate.planning.plan import Plan, read_plan
from striate.pretrained import HUB
from striate.training.checkpoint import has_generation
from striate.training.config import TrainConfig
from striate.training.folder import DataRecord, RunFolder, Summary
from striate.training.group import Group
from striate.training.loop import Loop
from striate.training.records import EpochRecord, PeakRecord, ProbeRecord, StepRecord, best_epoch
from striate.weights import WEIGHTS_FILE, WeightsConfig, load_state, save_weights


@dataclass(frozen=True, slots=True)
class Started:
    """A run is about to begin, or to go on.

    Args:
        folder: where it lives.
        model: the network's name.
        layers: its table.
        train_images: to learn from.
        val_images: to choose by.
        test_images: to test on; 0 where the set has no such part.
        classes: their names; none where numbers are learned.
        notes: what the data's user should know of it.
        step: the run's steps that are done already; above 0 where it was resumed.
        steps: of the whole run.
        reads_files: whether images are decoded from files.
        threads: that torch computes with; they change rounding.
        plan: how a step is taken within the memory granted; None where none was said.
    """

    folder: Path
    model: str
    layers: list[LayerCost]
    train_images: int
    val_images: int
    test_images: int
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    step: int
    steps: int
    reads_files: bool
    threads: int
    plan: Plan | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A run has ended, and its best network was tested.

    Args:
        folder: where it lives.
        best_epoch: whose weights were tested, counted from 1.
        epochs: that were trained.
        part: the images that it was tested on: ``test``, or ``val`` where the set has no others.
        metrics: of these: the task's own, ``loss`` among them where it takes one.
        seconds: since this call began.
        report: the page.
    """

    folder: Path
    best_epoch: int
    epochs: int
    part: str
    metrics: Mapping[str, float]
    seconds: float
    report: Path


TrainRecord = (
    Opening | Searching | Featuring | Mining | Started | ProbeRecord | StepRecord | PeakRecord | EpochRecord | Finished
)


def train(config: TrainConfig | None = None, *, resume: str | Path | None = None) -> Generator[TrainRecord, None, None]:
    """Train a network, yielding records while it goes on.

    Args:
        config: what to do; None where a run is resumed as it was.
        resume: the folder of a run that was interrupted. It ends with the same weights, bit for bit on the CPU, as if
            it had not been.

    Raises:
        UsageError: for input that cannot be trained on, or a resumed run whose circumstances have changed.
        InterruptedRunError: after Ctrl-C or SIGTERM, when all is saved.
        NotFiniteError: where the loss is not a number; the last good weights are kept.
    """
    started = time.monotonic()
    folder = None if resume is None else RunFolder.find(resume)
    if config is None:
        if folder is None:
            raise UsageError(expected="a TrainConfig or a run to resume", received="neither", remedy="Give one.")
        config = folder.config()
    check_training(config, resume)

    _refuse_device(config)
    beginning = find_beginning(config, folder)
    search = search_of(outline(config, beginning))
    group = Group.join(config.device)
    with group.together():
        yield from _train(config, folder, resume is None, beginning, search, group, started)


def _train(
    config: TrainConfig,
    folder: RunFolder | None,
    is_new: bool,
    beginning: Beginning,
    search: ProposalSearch | None,
    group: Group,
    started: float,
) -> Iterator[TrainRecord]:
    """Train in one of a group's processes; arguments as in `train`."""
    if folder is not None and has_generation(folder.resume):
        reading = begun_reading(folder, config.workers)
    else:
        reading = reading_of(config, config.workers)
    found = yield from read_data(config.data, config.seed, reading)
    _refuse_sharing(group, found, config)
    record = record_of(found)
    if folder is not None and folder.data.is_file():
        refuse_other_data(folder.data_record().fingerprint, record.fingerprint)
    found = yield from searched_splits(found, search, config.workers, group)
    begun = None if folder is None or not folder.plan.is_file() else read_plan(folder.plan)
    config, prepared, plan = _fitted(config, found, beginning, begun, group)
    splits, task, network, weights_config, head = prepared
    if folder is None:
        name = f"{splits.name}-{config.model}"
        folder = RunFolder(group.decide(lambda: RunFolder.create(config.output, weights_config.task, name).path))

    with folder.locked() if group.is_first else nullcontext():
        taken = [(weights_config.in_chans, *weights_config.image_size), *([] if search is None else [(search.room, 4)])]
        layers = layer_costs(network, *taken)
        save = partial(_save, folder, weights_config)
        circumstances = circumstances_of(record.fingerprint, network, config)
        running = config
        if plan is not None and plan.amp_dtype is not None:
            running = config.model_copy(update={"amp": True, "amp_dtype": plan.amp_dtype})
        loop = Loop(
            *(network, task, splits.train, splits.val, running, folder, save),
            head=head,
            plan=plan,
            watch=watched,
            replan=partial(smaller_plan, config, prepared, folder.path),
        )
        if not is_new:
            loop.restore(lambda before: refuse_changes(before, circumstances))
        if group.is_first:
            _write_down(folder, config, record, plan, is_new)
        loop.progress.circumstances = circumstances
        yield Started(
            folder=folder.path,
            model=config.model,
            layers=layers,
            train_images=len(splits.train),
            val_images=len(splits.val),
            test_images=0 if splits.test is None else len(splits.test),
            classes=splits.train.classes,
            notes=splits.notes,
            step=loop.progress.step,
            steps=loop.steps,
            reads_files=not splits.train.is_in_memory,
            threads=torch.get_num_threads(),
            plan=plan,
        )
        yield from loop.run()

        records = loop.progress.records
        best = best_epoch(records)
        group.wait()  # For the first one, which writes these weights.
        load_state(network, load_tensors(folder.best / WEIGHTS_FILE), str(folder.best), config.model)
        if isinstance(network, RCNN) and folder.read_summary() is None:
            yield from learn_stages(loop, network, save)
        tested = test_network(loop, network, task, *splits.judged, weights_config)
        if group.is_first:
            peaks = list(loop.peaks.records.values())
            write_report(folder, config, splits, layers, records, tested, loop.plan, peaks)
            summary = _summary(loop, records, tested, total_parameters(layers))
            folder.write_summary(summary)
            folder.forget_features()
            write_card(folder, config, splits, weights_config, summary, loop.plan)
        seconds = time.monotonic() - started
        yield Finished(folder.path, best.epoch, records[-1].epoch, tested.part, tested.metrics, seconds, folder.report)


def _summary(loop: Loop, records: Sequence[EpochRecord], tested: Tested, parameters: int) -> Summary:
    device, before = loop.machine.device, loop.folder.read_summary()
    measured = {phase: record.measured for phase, record in loop.peaks.records.items()}
    return Summary(
        part=tested.part,
        metrics=dict(tested.metrics),
        best_epoch=best_epoch(records).epoch,
        epochs=records[-1].epoch,
        seconds=sum(record.seconds for record in records),
        parameters=parameters,
        peaks=({} if before is None else before.peaks) | measured,  # A run that is only tested again measures none.
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU",
        threads=torch.get_num_threads(),
        processes=loop.group.size,
        versions={"striate": version("striate"), "torch": torch.__version__, "python": platform.python_version()},
    )


def _write_down(folder: RunFolder, config: TrainConfig, record: DataRecord, plan: Plan | None, is_new: bool) -> None:
    """Write what the run is asked to do before it begins, or where its data has moved to."""
    if not is_new:
        folder.keep(config, record)
        return
    folder.begin(config, record)
    if plan is not None:
        plan.save(folder.plan)


def _fitted(
    config: TrainConfig, found: Splits, beginning: Beginning, begun: Plan | None, group: Group
) -> tuple[TrainConfig, Prepared, Plan | None]:
    """Prepare a run, changed where that is allowed and nothing fits otherwise, and plan it.

    Args:
        config: what was asked for.
        found: the data, as it is.
        beginning: the weights that it begins with.
        begun: the plan that the run has begun with.
        group: of the processes that share its batches.

    Raises:
        BudgetError: where nothing fits.
    """
    prepared = prepare(config, found, beginning)
    config = _resolved(config, prepared)
    try:
        # Times that are measured, and so plans, may differ from process to process.
        return config, prepared, begun or group.decide(lambda: _find_plan(config, prepared, group))
    except BudgetError as error:
        tried = []
        for name, changed in allowed_changes(config, prepared.task.outputs, prepared.weights.model_options):
            try:
                other = prepare(changed, found, beginning)
                plan = plan_training(changed, other, group.size)
            except StriateError as none:  # Weights to begin with may be for this very network.
                tried.append(f"{name}: {none.received}")
            else:
                return changed, other, replace(plan, variation=name)
        if tried:
            error.remedy += f" What --allow allows does not fit either: {'; '.join(tried)}."
        raise


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _resolved(config: TrainConfig, prepared: "Prepared") -> TrainConfig:
    path = find_data(config.data)
    return config.model_copy(
        update={
            "data": config.data if path is None else str(path.resolve()),
            "pretrained": _absolute(config.pretrained) if config.pretrained != HUB else HUB,
            "plan": _absolute(config.plan),
            "classes": _absolute(config.classes),
            "image_size": prepared.weights.image_size,
            "in_chans": prepared.weights.in_chans,
        }
    )


def _refuse_sharing(group: Group, found: Splits, config: TrainConfig) -> None:
    """Refuse more processes than there are images in a part, or in a step, and what only one can do."""
    for name, part in found.parts.items():
        group.expect_enough(f"the images of {name}", len(part))
    if group.size > 1 and config.allow:
        raise UsageError(
            expected="--allow with one process",
            received=f"it with {group.size}",
            remedy="Let `striate plan --allow ... --devices N` find the change, and ask for the changed network.",
        )
    if group.size > 1 and config.model == "rcnn":  # Whose last stages are one process's work.
        raise UsageError(
            expected="rcnn, which learns in stages, in one process",
            received=f"{group.size}",
            remedy="Start one; fast_rcnn and faster_rcnn learn in several.",
        )
    count, batch_size = len(found.train), config.batch_size
    group.expect_enough("the images of a step", count // -(-count // batch_size))


def _refuse_device(config: TrainConfig) -> None:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            expected="a CUDA device that torch can use",
            received="none",
            remedy="Use --device cpu, or install the CUDA build of torch and its driver.",
        )
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if config.compile and config.device == "cpu" and which(compiler) is None:
        raise UsageError(
            expected=f"a C++ compiler, for --compile: {compiler}",
            received="none of that name",
            remedy="Install one (on Debian: apt install g++), name it in CXX, or leave --compile out.",
        )


def _find_plan(config: TrainConfig, prepared: Prepared, group: Group) -> Plan | None:
    """Return the plan given, or one for the budget given; else None."""
    if config.plan is not None:
        return fitting_plan(config, prepared, config.plan, group.size)
    return None if config.memory is None else plan_training(config, prepared, group.size)


def _save(
    folder: RunFolder, config: WeightsConfig, weights: Literal["best", "last"], state: Mapping[str, Tensor]
) -> None:
    save_weights({"best": folder.best, "last": folder.last}[weights], state, config)
