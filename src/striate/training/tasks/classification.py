"""One class for each image."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from striate.training.config import TrainConfig
from striate.training.tasks.images import ImageTask, LabelledImages, Labels


class Classification(ImageTask):
    """One class for each image.

    Args:
        config: what is done to images in training, the loss, and the seed.
        classes: their names, in the order of the labels.
    """

    label_dtype = torch.int64

    def __init__(self, config: TrainConfig, classes: tuple[str, ...]) -> None:
        super().__init__(config)
        self.classes = classes

    @property
    def outputs(self) -> int:
        """A logit for each class."""
        return len(self.classes)

    def describe(self) -> Mapping[str, Any]:
        """Return the classes."""
        return {"task": "classify", "classes": self.classes}

    def targets(self, labels: Labels) -> Int64[Tensor, "N K"]:
        """Return 1 for each image's class and 0 for the others."""
        return F.one_hot(labels, len(self.classes))

    def compare(self, outputs: Float[Tensor, "N K"], targets: Tensor, smoothing: float = 0.0) -> Float[Tensor, ""]:
        """Return the mean loss of logits against targets, N x classes, that add up to 1 for each image.

        ``cross_entropy`` is the mean over images; ``mse`` the mean over images and classes of the squared difference
        between softmax and target (textbooks take half the sum over classes, classes / 2 times as much). Smoothing is
        of Szegedy et al., "Rethinking the Inception architecture", 2016, section 7: (1 - s) of the target and s spread
        over all classes.
        """
        logits, targets = outputs.float(), targets.float()  # Of heads, autocast gives 16 bits.
        if smoothing:
            targets = targets * (1 - smoothing) + smoothing / targets.shape[1]
        if self.config.loss == "mse":
            return F.mse_loss(logits.softmax(1), targets)
        return F.cross_entropy(logits, targets)

    def score(self) -> "ClassificationScore":
        """Return a fresh metric: loss (without smoothing or mixup) and accuracy."""
        return ClassificationScore(self)

    def better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        """Tell whether more images are right or, with as many, the loss is lower."""
        return (metrics["accuracy"], -metrics["loss"]) > (than["accuracy"], -than["loss"])


class ClassificationScore:
    """Loss and images that are right, summed over batches."""

    def __init__(self, task: Classification) -> None:
        from torchmetrics import MeanMetric, Metric

        self._task = task
        self._loss: Metric = MeanMetric().set_dtype(torch.float64)
        self._right = self._count = 0

    def update(self, network: nn.Module, batch: LabelledImages) -> Float[Tensor, "N K"]:
        """Run the network, in evaluation mode, on one batch; take its logits in, and return them, on the CPU."""
        logits: Tensor = network(batch.images).float().cpu()
        labels = batch.labels.cpu()
        self._loss.update(self._task.compare(logits, self._task.targets(labels)), weight=len(labels))
        self._right += int((logits.argmax(1) == labels).sum())
        self._count += len(labels)
        return logits

    def compute(self) -> Mapping[str, float]:
        """Return ``loss``, the mean over images, and ``accuracy``, the share that is right."""
        return {"loss": float(self._loss.compute()), "accuracy": self._right / self._count}
