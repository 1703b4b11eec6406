"""What a trained network is worth on images that it has not seen, and the run's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor, nn

from striate.costing.layers import LayerCost, total_parameters
from striate.data.sets import ImageSet, Splits
from striate.jobs.judged_page import add_judged, in_words
from striate.jobs.judgement import Judgement, judge_any
from striate.jobs.judging_boxes import JudgedBoxes
from striate.jobs.plan_page import add_plan
from striate.jobs.stages import Stages
from striate.planning.plan import Plan
from striate.reporting.figures import curves
from striate.reporting.page import Page
from striate.training.config import TrainConfig
from striate.training.evaluation import outputs_of
from striate.training.folder import RunFolder
from striate.training.loop import Loop
from striate.training.records import EpochRecord, PeakRecord, best_epoch, name_epoch
from striate.training.tasks import ImageTask, LabelledImages
from striate.units import format_bytes, format_duration, format_number
from striate.weights import WeightsConfig


@dataclass(frozen=True, slots=True)
class Tested:
    """A run's network, judged once it is trained.

    Args:
        part: the images that it was judged by: ``test``, or ``val`` where there are no others.
        judged: by these.
        metrics: the task's, of the same.
    """

    part: str
    judged: Judgement
    metrics: Mapping[str, float]


def test_network(
    loop: Loop, network: nn.Module, task: ImageTask, part: str, images: ImageSet, config: WeightsConfig
) -> Tested:
    """Judge a network by images that had no part in the run, on the run's device and in its precision."""
    score, machine = task.score(), loop.machine
    outputs = loop.group.gather(torch.cat(list(outputs_of(network, loop.in_order(images), score, machine))))

    def show(batch: LabelledImages) -> Tensor:
        logits: Tensor = network(machine.move(batch).images)
        return logits

    network.eval()
    with machine.autocast():
        judged = judge_any(outputs, images, config, show if loop.group.is_first else None)
    metrics = score.compute()
    # Of things, what counts is how they are found in the images' own pixels.
    return Tested(part, judged, {**metrics, **judged.metrics} if isinstance(judged, JudgedBoxes) else metrics)


def write_report(
    folder: RunFolder,
    config: TrainConfig,
    splits: Splits,
    layers: Sequence[LayerCost],
    records: Sequence[EpochRecord],
    tested: Tested,
    plan: Plan | None = None,
    peaks: Sequence[PeakRecord] = (),
) -> None:
    """Write ``report.html``: curves, memory, what it is worth, the network, and how to repeat it."""
    seconds, epochs = sum(record.seconds for record in records), records[-1].epoch
    page = Page(
        f"{config.model} on {splits.name}",
        f"{in_words(tested.judged, tested.part)} after {format_number(epochs, 'epoch')} in {format_duration(seconds)}",
    )
    best = best_epoch(records)
    page.text(
        f"Tested: the weights of {name_epoch(best.epoch, epochs)}, the best on the validation images"
        f"{'' if tested.part == 'test' else ', by these same images, since the set has no others'}. "
        f"{'Loss {:.4f}. '.format(tested.metrics['loss']) if 'loss' in tested.metrics else ''}"
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, striate {version('striate')}."
    )
    for note in splits.notes:
        page.text(f"Note: {note}.")
    page.heading("Training")
    page.text(
        f"{len(splits.train):,} images to learn from, {len(splits.val):,} to choose the best epoch by, "
        f"{0 if splits.test is None else len(splits.test):,} to test on."
    )
    page.figure(curves(records))
    stages = Stages.read(folder.stages)
    if stages is not None:
        page.heading("The last stages")
        page.text(
            "Things, whose features each SVM was shown; proposals that overlap one by .60 or more, from which boxes "
            "are regressed; what each SVM was shown that is none of its class, and how much of that is hard: within "
            f"the margin, or beyond it. Features took {format_bytes(stages.kept)} on the disk, and all of it "
            f"{format_duration(stages.seconds)}."
        )
        page.table(
            ["class", "things", "proposals", "negatives", "hard"],
            [(each.name, each.things, each.proposals, each.negatives, each.hard) for each in stages.classes],
        )
    if plan is not None:
        page.heading("Memory")
        add_plan(page, plan)
        page.table(
            ["", "predicted bytes", "measured bytes", "granted bytes"],
            [(peak.phase, peak.predicted, peak.measured, peak.budget) for peak in peaks],
        )
    add_judged(page, tested.judged, tested.part)
    page.heading("The network")
    total = total_parameters(layers)
    page.table(
        ["layer", "kind", "output", "parameters", "arithmetic"],
        [
            (
                layer.name,
                layer.kind,
                " x ".join(map(str, layer.output_shape)),
                layer.parameters,
                layer.arithmetic.parameters,
            )
            for layer in layers
        ],
    )
    page.text(f"{total:,} parameters, {format_bytes(4 * total)} as 32-bit floats.")
    page.heading("Repeat it")
    page.text("Saved as a file, these lines repeat the run: striate train -c FILE")
    page.code(config.to_yaml())
    page.write(folder.report)
