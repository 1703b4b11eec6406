"""What a trained classifier is worth on images that it has not seen, and the run's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
import yaml
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.costing.layers import LayerCost
from striate.data.sets import ImageSet, Splits
from striate.files import replace_file
from striate.inference.predict import classify
from striate.reporting.figures import confusion_matrix, curves
from striate.reporting.page import Page
from striate.results import Classes
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder
from striate.training.records import EpochRecord
from striate.training.tasks import Classification
from striate.units import format_bytes, format_duration

WORST = 24
LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class Tested:
    """What a network said of a set of images.

    Args:
        images: the set, at the network's size.
        predictions: one for each image.
        confusion: images of each class (rows) taken for each class (columns).
        metrics: ``loss``, the mean over images of -log p(truth), and ``accuracy``.
    """

    images: ImageSet
    predictions: list[Classes]
    confusion: list[list[int]]
    metrics: Mapping[str, float]


def test_network(network: nn.Module, task: Classification, images: ImageSet, batch_size: int) -> Tested:
    """Run a network over a set of images and count what it got right."""
    batches = (task.preprocessing.normalise(part) for part in torch.split(images.images, batch_size))
    predictions = list(classify(network, batches, images.classes))
    confusion = np.zeros((len(images.classes), len(images.classes)), np.int64)
    for prediction, label in zip(predictions, images.labels.tolist(), strict=True):
        confusion[label, prediction.best] += 1
    losses = _losses(predictions, images.labels)
    metrics = {"loss": sum(losses) / len(losses), "accuracy": float(np.trace(confusion) / len(losses))}
    return Tested(images, predictions, confusion.tolist(), metrics)


def write_report(
    folder: RunFolder,
    config: TrainConfig,
    splits: Splits,
    layers: Sequence[LayerCost],
    records: Sequence[EpochRecord],
    tested: Tested,
) -> None:
    """Write ``report.html``: curves, confusion matrix, worst mistakes, the network's table, and how to repeat it."""
    right = sum(row[place] for place, row in enumerate(tested.confusion))
    seconds = sum(record.seconds for record in records)
    page = Page(
        f"{config.model} on {splits.name}",
        f"{tested.metrics['accuracy']:.2%} of the test images right ({right:,} of {len(splits.test):,}) after "
        f"{len(records)} epochs in {format_duration(seconds)}",
    )
    page.heading("Training")
    page.text(
        f"{len(splits.train):,} images to learn from, {len(splits.val):,} to choose the best epoch by, "
        f"{len(splits.test):,} to test on."
    )
    page.figure(curves(records))
    page.heading("Confusion matrix of the test images")
    page.figure(confusion_matrix(tested.confusion, tested.images.classes))
    page.table(["class", "images", "precision", "recall"], _by_class(tested))
    page.heading("Worst mistakes")
    page.pictures(_worst(tested))
    if right == len(splits.test):
        page.text("None: every test image was classified rightly.")
    page.heading("The network")
    total = sum(layer.parameters for layer in layers)
    page.table(
        ["layer", "kind", "output", "parameters", "arithmetic"],
        [
            (layer.name, layer.kind, " x ".join(map(str, layer.output_shape)), layer.parameters, layer.arithmetic)
            for layer in layers
        ],
    )
    page.text(f"{total:,} parameters, {format_bytes(4 * total)} as 32-bit floats.")
    page.heading("Repeat it")
    page.text("Saved as a file, these lines repeat the run: striate train -c FILE")
    page.code(yaml.safe_dump(config.model_dump(mode="json", exclude={"output"}), sort_keys=False, allow_unicode=True))
    text = page.html()
    replace_file(folder.report, lambda beside: beside.write_text(text, encoding="utf-8"))


def _losses(predictions: Sequence[Classes], labels: Int64[Tensor, " N"]) -> list[float]:
    return [
        -log(max(prediction.probabilities[label], LEAST_PROBABILITY))
        for prediction, label in zip(predictions, labels.tolist(), strict=True)
    ]


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
    losses = _losses(tested.predictions, tested.images.labels)
    wrong = [place for place, label in enumerate(labels) if tested.predictions[place].best != label]
    pictures = []
    for place in sorted(wrong, key=lambda place: -losses[place])[:WORST]:
        taken = tested.predictions[place]
        pixels = tested.images.images[place].permute(1, 2, 0).numpy()
        pictures.append((pixels, f"{names[labels[place]]}, taken for {taken.name} ({taken.probability:.0%})"))
    return pictures
