"""A class for each pixel."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from striate.data.masked import MaskedFiles
from striate.data.masks import MaskClasses
from striate.data.preprocessing import Preprocessing
from striate.data.sets import ImageSet
from striate.results import UNKNOWN
from striate.segmentation.losses import dice_loss, pixel_cross_entropy
from striate.segmentation.scores import boundary_band, median_frequency_weights, overlaps, scores_of
from striate.training.config import TrainConfig
from striate.training.task import Features
from striate.training.tasks.images import LabelledImages, Labels, LabelTask

BAND = 3  # Pixels to either side of a border that are near it.


class Segmentation(LabelTask):
    """A class for each pixel.

    Args:
        config: what is done to images and masks in training, the loss, and the seed.
        preprocessing: how images become the network's input.
        masks: the classes, and how masks hold them.
    """

    label_dtype = torch.uint8

    def __init__(
        self,
        config: TrainConfig,
        preprocessing: Preprocessing,
        masks: MaskClasses,
    ) -> None:
        super().__init__(config, preprocessing)
        self.masks = masks
        self._class_weights: Float[Tensor, " K"] | None = None

    @property
    def outputs(self) -> int:
        """A logit for each class, at each pixel."""
        return len(self.masks.names)

    def describe(self) -> Mapping[str, Any]:
        """Return the classes, their colours, and how masks hold them."""
        masks = self.masks
        return {"task": "segment", "classes": masks.names, "colours": masks.colours, "numbers": dict(masks.numbers)}

    def prepare(self, images: ImageSet) -> None:
        """Count the training pixels of each class, where their losses are to be balanced.

        The weights are those of the median frequency, scaled so that their mean over the known pixels is 1.
        """
        if self.config.balance == "loss":
            assert isinstance(images, MaskedFiles)
            pixels = images.mask_pixels.sum(0)
            weights = torch.tensor(median_frequency_weights(pixels.tolist()), dtype=torch.float64)
            self._class_weights = (weights * pixels.sum() / (weights * pixels).sum()).float()

    def fit(self, features: Features, others: Features) -> Mapping[str, Tensor]:
        """There is no such layer."""
        raise AssertionError("a network for pixels has no dense layer to fit")

    def blank(self, count: int) -> Tensor:
        """Return masks of so many images, on torch's meta device."""
        return torch.empty(count, *self.preprocessing.image_size, dtype=self.label_dtype, device="meta")

    def targets(self, labels: Labels) -> Int64[Tensor, "N H W"]:
        """Return the class of each pixel; ``UNKNOWN`` where nobody knows it."""
        return labels.long()

    def compare(self, outputs: Float[Tensor, "N K H W"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the mean cross-entropy."""
        return pixel_cross_entropy(outputs, targets)

    def compare_in_training(self, outputs: Float[Tensor, "N K H W"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the loss that was asked for: cross-entropy, with a weight for each class or without, dice, or both."""
        loss = torch.zeros((), device=outputs.device)
        if "cross_entropy" in self.config.loss:
            weights = None if self._class_weights is None else self._class_weights.to(outputs.device)
            loss = loss + pixel_cross_entropy(outputs, targets, weights)
        if "dice" in self.config.loss:
            loss = loss + dice_loss(outputs, targets)
        return loss

    def score(self) -> "SegmentationScore":
        """Return a fresh metric."""
        return SegmentationScore(self)

    def better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        """Tell whether the mean overlap is larger or, if that is what counts, the loss is lower."""
        if self.config.monitor == "loss":
            return super().better(metrics, than)
        return (metrics["mean_iou"], -metrics["loss"]) > (than["mean_iou"], -than["loss"])


class SegmentationScore:
    """Loss and overlaps, summed over batches."""

    def __init__(self, task: Segmentation) -> None:
        from torchmetrics import Metric, SumMetric

        class Counts(Metric):
            """Numbers added up one by one."""

            sums: Tensor

            def __init__(self) -> None:
                super().__init__()
                self.add_state("sums", torch.zeros(2, 3, task.outputs, dtype=torch.float64), dist_reduce_fx="sum")

            def update(self, values: Tensor) -> None:
                self.sums += values

            def compute(self) -> Tensor:
                return self.sums

        self._task = task
        # Added up over processes where there are several.
        self._loss: Metric = SumMetric().set_dtype(torch.float64)
        self._images: Metric = SumMetric().set_dtype(torch.float64)
        self._counts: Metric = Counts()

    def update(self, network: nn.Module, batch: LabelledImages) -> Float64[Tensor, "N 2 3 K"]:
        """Run the network, in evaluation mode, on one batch; take its answers in.

        Returns:
            On the CPU, the `overlaps` of each image: of all its pixels, and of those near a border.
        """
        logits: Tensor = network(batch.images)
        truth = self._task.targets(batch.labels)
        counts, loss = pixel_counts(logits, truth), self._task.compare(logits, truth)
        self._loss.update(loss.double().cpu() * len(batch))
        self._images.update(len(batch))
        self._counts.update(counts.sum(0))
        return counts

    def compute(self) -> Mapping[str, float]:
        """Return the mean loss over images, and `figures_of` them."""
        figures = figures_of(self._counts.compute())
        return {"loss": float(self._loss.compute()) / float(self._images.compute()), **figures}


def figures_of(counts: Float64[Tensor, "2 3 K"]) -> Mapping[str, float]:
    """Return what `pixel_counts` added up over images come to.

    ``pixel_accuracy`` is the share of the known pixels whose class was said; ``mean_iou`` the mean over classes of the
    pixels that are of it and were said to be, as a share of those that are or were; ``trimap_iou`` the same of the
    pixels near a border between two classes (`striate.segmentation.scores.boundary_band`), where there are such.
    """
    every, near = (scores_of(each) for each in counts.long())
    figures = {"pixel_accuracy": every.accuracy, "mean_iou": every.mean_iou, "trimap_iou": near.mean_iou}
    return {name: value for name, value in figures.items() if value is not None}


def pixel_counts(logits: Float[Tensor, "N K H W"], truth: Int64[Tensor, "N H W"]) -> Float64[Tensor, "N 2 3 K"]:
    """Return the `overlaps` of what a network says with what is true, on the CPU: of all pixels, and near borders.

    Image by image, which takes little memory besides the logits.
    """
    made = []
    for image, wanted in zip(logits, truth, strict=True):
        said, true = image.argmax(0, keepdim=True), wanted.unsqueeze(0)
        known = true != UNKNOWN
        where = (known, boundary_band(true, known, BAND))
        made.append(torch.cat([overlaps(said, true, len(image), here) for here in where]))
    return torch.stack(made).double().cpu()
