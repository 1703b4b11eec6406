"""One class for each image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from striate.data.preprocessing import Preprocessing
from striate.data.sets import ImageSet
from striate.training.config import TrainConfig
from striate.training.probe import FREEDOMS, fit_layer
from striate.training.task import Features
from striate.training.tasks.images import LabelledImages, Labels, LabelTask

NEVER = 30.0  # Below all others, a logit of a class that was never seen.


class Classification(LabelTask):
    """One class for each image.

    Args:
        config: what is done to images in training, the loss, and the seed.
        preprocessing: how images become the network's input.
        classes: their names, in the order of the labels.
    """

    label_dtype = torch.int64

    def __init__(self, config: TrainConfig, preprocessing: Preprocessing, classes: tuple[str, ...]) -> None:
        super().__init__(config, preprocessing)
        self.classes = classes
        self._class_weights: Float[Tensor, " K"] | None = None

    @property
    def outputs(self) -> int:
        """A logit for each class."""
        return len(self.classes)

    def describe(self) -> Mapping[str, Any]:
        """Return the classes."""
        return {"task": "classify", "classes": self.classes}

    def prepare(self, images: ImageSet) -> None:
        """Count the training images of each class, where their losses are to be balanced."""
        if self.config.balance == "loss":
            counts = torch.bincount(images.labels, minlength=len(self.classes)).clamp(min=1)
            self._class_weights = len(images) / (len(self.classes) * counts.float())

    def chances(self, images: ImageSet) -> NDArray[np.float64] | None:
        """Return the same chance for all classes together, where sampling is to balance them."""
        if self.config.balance != "sampling":
            return None
        counts = np.bincount(images.labels.numpy(), minlength=len(self.classes))
        chances: NDArray[np.float64] = 1.0 / counts[images.labels.numpy()]
        chances /= chances.sum()
        return chances

    def fit(self, features: Features, others: Features) -> Mapping[str, Tensor]:
        """Return the layer of a logistic regression, the penalty chosen by the other images' loss."""
        from sklearn.linear_model import LogisticRegression

        weights = None if self.config.balance == "none" else "balanced"
        known = torch.unique(features.labels)  # A set may number classes of which it has no image.
        wanted = torch.searchsorted(known, others.labels).clamp(max=len(known) - 1)
        is_known = (known[wanted] == others.labels).numpy()

        def loss(model: Any, values: NDArray[np.float32]) -> float:
            said = model.predict_log_proba(values)[np.arange(len(wanted)), wanted.numpy()]
            return -float(said[is_known].mean())

        models = (LogisticRegression(C=much, class_weight=weights, max_iter=1000) for much in FREEDOMS)
        fitted = fit_layer(features.values, features.labels.numpy(), others.values, models, loss)
        weight = torch.zeros(len(self.classes), features.values.shape[1], dtype=torch.float64)
        bias = torch.full((len(self.classes),), float(fitted["bias"].min()) - NEVER, dtype=torch.float64)
        weight[known], bias[known] = fitted["weight"], fitted["bias"]
        return {"weight": weight, "bias": bias}

    def targets(self, labels: Labels) -> Int64[Tensor, "N K"]:
        """Return 1 for each image's class and 0 for the others."""
        return F.one_hot(labels, len(self.classes))

    def compare(self, outputs: Float[Tensor, "N K"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the mean loss of logits against targets, N x classes, that add up to 1 for each image.

        ``cross_entropy`` is the mean over images; ``mse`` the mean over images and classes of the squared difference
        between softmax and target (textbooks take half the sum over classes, classes / 2 times as much).
        """
        return self._losses(outputs, targets, "mean")

    def compare_in_training(self, outputs: Float[Tensor, "N K"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the loss against smoothed targets, with the same weight for all classes where that is asked for.

        Smoothing is of Szegedy et al., "Rethinking the Inception architecture", 2016, section 7: (1 - s) of the target
        and s spread over all classes. An image's weight is that of its class, or of the two that are mixed in it.
        """
        smoothing, smoothed = self.config.smoothing, targets.float()
        if smoothing:
            smoothed = smoothed * (1 - smoothing) + smoothing / targets.shape[1]
        if self._class_weights is None:
            return self.compare(outputs, smoothed)
        weights = (targets * self._class_weights.to(targets.device)).sum(1)
        losses = self._losses(outputs, smoothed, "none").view(len(targets), -1).mean(1)
        return (losses * weights).mean()

    def _losses(self, outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
        logits, targets = outputs.float(), targets.float()  # Of heads, autocast gives 16 bits.
        if self.config.loss == "mse":
            return F.mse_loss(logits.softmax(1), targets, reduction=reduction)
        return F.cross_entropy(logits, targets, reduction=reduction)

    def score(self) -> "ClassificationScore":
        """Return a fresh metric: loss (without smoothing or mixup) and accuracy."""
        return ClassificationScore(self)

    def better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        """Tell whether more images are right or, with as many or if that is what counts, the loss is lower."""
        if self.config.monitor == "loss":
            return super().better(metrics, than)
        return (metrics["accuracy"], -metrics["loss"]) > (than["accuracy"], -than["loss"])


class ClassificationScore:
    """Loss and images that are right, summed over batches."""

    def __init__(self, task: Classification) -> None:
        from torchmetrics import Metric, SumMetric

        self._task = task
        # The loss's sum, the images that are right, and all: added up over processes where there are several.
        self._sums: list[Metric] = [SumMetric().set_dtype(torch.float64) for _ in range(3)]

    def update(self, network: nn.Module, batch: LabelledImages) -> Float[Tensor, "N K"]:
        """Run the network, in evaluation mode, on one batch; take its logits in, and return them, on the CPU."""
        logits: Tensor = network(batch.images).float().cpu()
        labels = batch.labels.cpu()
        loss = self._task.compare(logits, self._task.targets(labels))
        right = (logits.argmax(1) == labels).sum()
        for metric, value in zip(self._sums, (loss.double() * len(labels), right, len(labels)), strict=True):
            metric.update(value)
        return logits

    def compute(self) -> Mapping[str, float]:
        """Return ``loss``, the mean over images, and ``accuracy``, the share that is right."""
        loss, right, count = (float(metric.compute()) for metric in self._sums)
        return {"loss": loss / count, "accuracy": right / count}
