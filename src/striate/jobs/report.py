"""What a trained classifier is worth on images that it has not seen, and the run's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.costing.layers import LayerCost, total_parameters
from striate.data.sets import ImageSet, Splits
from striate.files import replace_file
from striate.inference.predict import to_classes
from striate.jobs.plan_page import add_plan
from striate.planning.plan import Plan
from striate.reporting.figures import confusion_matrix, curves
from striate.reporting.page import Page
from striate.results import Classes
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.loading import Loader
from striate.training.loop import Loop
from striate.training.records import EpochRecord, PeakRecord, best_epoch
from striate.training.tasks import Classification
from striate.units import format_bytes, format_duration

WORST = 24


@dataclass(frozen=True, slots=True)
class Tested:
    """What a network said of a set of images.

    Args:
        images: the set, at the network's size.
        predictions: one for each image.
        confusion: images of each class (rows) taken for each class (columns).
        metrics: the task's: ``loss`` and ``accuracy``.
    """

    images: ImageSet
    predictions: list[Classes]
    confusion: list[list[int]]
    metrics: Mapping[str, float]


def test_network(loop: Loop, network: nn.Module, task: Classification, images: ImageSet) -> Tested:
    """Judge a network by images that had no part in the run, on the run's device and in its precision."""
    score = task.score()
    loader = Loader(images, task.collate, batch_size=loop.evaluation_batch)
    predictions = [
        prediction
        for outputs in loop.outputs(network, loader, score)
        for prediction in to_classes(outputs, images.classes)
    ]
    return Tested(images, predictions, score.confusion.tolist(), score.compute())


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
    """Write ``report.html``: curves, memory, confusion matrix, worst mistakes, the network, and how to repeat it."""
    right = sum(row[place] for place, row in enumerate(tested.confusion))
    seconds = sum(record.seconds for record in records)
    page = Page(
        f"{config.model} on {splits.name}",
        f"{tested.metrics['accuracy']:.2%} of the test images right ({right:,} of {len(splits.test):,}) after "
        f"{len(records)} epoch{'s' if len(records) > 1 else ''} in {format_duration(seconds)}",
    )
    best = best_epoch(records)
    page.text(
        f"Tested: the weights of epoch {best.epoch}, the best on the validation images. Test loss "
        f"{tested.metrics['loss']:.4f}. {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"striate {version('striate')}."
    )
    page.heading("Training")
    page.text(
        f"{len(splits.train):,} images to learn from, {len(splits.val):,} to choose the best epoch by, "
        f"{len(splits.test):,} to test on."
    )
    page.figure(curves(records))
    if plan is not None:
        page.heading("Memory")
        add_plan(page, plan)
        page.table(
            ["", "predicted bytes", "measured bytes", "granted bytes"],
            [(peak.phase, peak.predicted, peak.measured, peak.budget) for peak in peaks],
        )
    page.heading("Confusion matrix of the test images")
    page.figure(confusion_matrix(tested.confusion, tested.images.classes))
    page.table(["class", "images", "precision", "recall"], _by_class(tested))
    page.heading("Worst mistakes")
    page.pictures(_worst(tested))
    if right == len(splits.test):
        page.text("None: every test image was classified rightly.")
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
    text = page.html()
    replace_file(folder.report, lambda beside: beside.write_text(text, encoding="utf-8"))


def _by_class(tested: Tested) -> list[tuple[str, int, str, str]]:
    counts = np.array(tested.confusion)
    rows = []
    for place, name in enumerate(tested.images.classes):
        right, truly, taken = int(counts[place, place]), int(counts[place].sum()), int(counts[:, place].sum())
        rows.append((name, truly, _share(right, taken), _share(right, truly)))
    return rows


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "none"


def _worst(tested: Tested) -> list[tuple[NDArray[np.uint8], str]]:
    names, labels = tested.images.classes, tested.images.labels.tolist()
    wrong = [place for place, label in enumerate(labels) if tested.predictions[place].best != label]
    wrong.sort(key=lambda place: tested.predictions[place].probabilities[labels[place]])
    pictures = []
    for place in wrong[:WORST]:
        taken = tested.predictions[place]
        pixels = tested.images.images[place].permute(1, 2, 0).numpy()
        pixels = pixels[:, :, : 3 if pixels.shape[2] >= 3 else 1]
        pictures.append((pixels, f"{names[labels[place]]}, taken for {taken.name} ({taken.probability:.0%})"))
    return pictures
