"""One number for each image."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from striate.data.sets import ImageSet
from striate.errors import UsageError
from striate.training.config import TrainConfig
from striate.training.tasks.images import ImageTask, LabelledImages, Labels


class Regression(ImageTask):
    """One number for each image: the network's one output, as it is, times ``std`` plus ``mean``.

    The two are those of the training images' numbers, so that what is learned has a mean of 0 and a standard deviation
    of 1, whatever the numbers' unit.

    Args:
        config: what is done to images in training, and the seed.

    Raises:
        UsageError: for label smoothing, which numbers have none of.
    """

    label_dtype = torch.float64
    mean: float
    std: float

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.smoothing:
            raise UsageError(
                expected="no --smoothing where numbers are learned",
                received=f"{config.smoothing:g}",
                remedy="Smoothing is for classes: --smoothing 0, where a recipe asks for it.",
            )

    @property
    def outputs(self) -> int:
        """One."""
        return 1

    def describe(self) -> Mapping[str, Any]:
        """Return how an output becomes a number."""
        return {"task": "regress", "classes": (), "scale": (self.std, self.mean)}

    def prepare(self, images: ImageSet) -> None:
        """Measure the training images and their numbers."""
        super().prepare(images)
        numbers = images.labels.double()
        self.mean = float(numbers.mean())
        self.std = float(numbers.std(correction=0)) or 1.0

    def targets(self, labels: Labels) -> Float[Tensor, "N 1"]:
        """Return each image's number as the network is to give it."""
        return ((labels - self.mean) / self.std).unsqueeze(1).float()

    def compare(self, outputs: Float[Tensor, "N K"], targets: Tensor, smoothing: float = 0.0) -> Float[Tensor, ""]:
        """Return the mean over images of the squared difference."""
        return F.mse_loss(outputs.float(), targets.float())

    def score(self) -> "RegressionScore":
        """Return a fresh metric: the loss, and how far the numbers are from the truth, in their own unit."""
        return RegressionScore(self)

    def better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        """Tell whether the loss is lower."""
        return metrics["loss"] < than["loss"]


class RegressionScore:
    """Numbers and truths, summed over batches."""

    def __init__(self, task: Regression) -> None:
        from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, R2Score

        self._task, self._count = task, 0
        self._squared: Metric = MeanSquaredError().set_dtype(torch.float64)
        self._absolute: Metric = MeanAbsoluteError().set_dtype(torch.float64)
        self._explained: Metric = R2Score().set_dtype(torch.float64)

    def update(self, network: nn.Module, batch: LabelledImages) -> Float[Tensor, "N 1"]:
        """Run the network, in evaluation mode, on one batch; take its numbers in; return its outputs, on the CPU."""
        outputs: Tensor = network(batch.images).float().cpu()
        numbers = outputs.double().squeeze(1) * self._task.std + self._task.mean
        truth = batch.labels.double().cpu()
        self._count += len(truth)
        for metric in (self._squared, self._absolute, self._explained):
            metric.update(numbers, truth)
        return outputs

    def compute(self) -> Mapping[str, float]:
        """Return ``loss``, and in the numbers' own unit ``rmse`` and ``mae``, and ``r2``, the share explained.

        The last is 0 for a network that always says the mean of these images, and there where two images or more are.
        """
        squared = float(self._squared.compute())
        explained = {"r2": float(self._explained.compute())} if self._count > 1 else {}
        return {
            "loss": squared / self._task.std**2,
            "rmse": squared**0.5,
            "mae": float(self._absolute.compute()),
            **explained,
        }
