"""One number for each image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from striate.data.preprocessing import Preprocessing
from striate.data.sets import ImageSet
from striate.errors import UsageError
from striate.training.config import TrainConfig
from striate.training.probe import FREEDOMS, fit_layer
from striate.training.task import Features
from striate.training.tasks.images import LabelledImages, Labels, LabelTask


class Regression(LabelTask):
    """One number for each image: the network's one output, as it is, times ``std`` plus ``mean``.

    The two are those of the training images' numbers, so that what is learned has a mean of 0 and a standard deviation
    of 1, whatever the numbers' unit.

    Args:
        config: what is done to images in training, and the seed.
        preprocessing: how images become the network's input.

    Raises:
        UsageError: for label smoothing and balance, which are for classes.
    """

    label_dtype = torch.float64
    mean: float
    std: float

    def __init__(self, config: TrainConfig, preprocessing: Preprocessing) -> None:
        super().__init__(config, preprocessing)
        if config.smoothing:
            raise UsageError(
                expected="no --smoothing where numbers are learned",
                received=f"{config.smoothing:g}",
                remedy="Smoothing is for classes: --smoothing 0, where a recipe asks for it.",
            )
        if config.balance != "none":
            raise UsageError(
                expected="no --balance where numbers are learned",
                received=config.balance,
                remedy="Only classes can be balanced.",
            )

    @property
    def outputs(self) -> int:
        """One."""
        return 1

    def describe(self) -> Mapping[str, Any]:
        """Return how an output becomes a number."""
        return {"task": "regress", "classes": (), "scale": (self.std, self.mean)}

    def prepare(self, images: ImageSet) -> None:
        """Measure the training images' numbers."""
        numbers = images.labels.double()
        self.mean = float(numbers.mean())
        self.std = float(numbers.std(correction=0)) or 1.0

    def fit(self, features: Features, others: Features) -> Mapping[str, Tensor]:
        """Return the layer of a ridge regression, the penalty chosen by the other images' squared difference."""
        from sklearn.linear_model import Ridge

        truth, wanted = (self.targets(each.labels).squeeze(1).double().numpy() for each in (features, others))

        def loss(model: Any, values: NDArray[np.float32]) -> float:
            return float(np.square(model.predict(values) - wanted).mean())

        return fit_layer(features.values, truth, others.values, (Ridge(alpha=1 / much) for much in FREEDOMS), loss)

    def targets(self, labels: Labels) -> Float[Tensor, "N 1"]:
        """Return each image's number as the network is to give it."""
        return ((labels - self.mean) / self.std).unsqueeze(1).float()

    def compare(self, outputs: Float[Tensor, "N K"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the mean over images of the squared difference."""
        return F.mse_loss(outputs.float(), targets.float())

    def score(self) -> "RegressionScore":
        """Return a fresh metric: the loss, and how far the numbers are from the truth, in their own unit."""
        return RegressionScore(self)


class RegressionScore:
    """Numbers and truths, summed over batches."""

    def __init__(self, task: Regression) -> None:
        from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, R2Score, SumMetric

        self._task = task
        self._count: Metric = SumMetric().set_dtype(torch.float64)
        self._squared: Metric = MeanSquaredError().set_dtype(torch.float64)
        self._absolute: Metric = MeanAbsoluteError().set_dtype(torch.float64)
        self._explained: Metric = R2Score().set_dtype(torch.float64)

    def update(self, network: nn.Module, batch: LabelledImages) -> Float[Tensor, "N 1"]:
        """Run the network, in evaluation mode, on one batch; take its numbers in; return its outputs, on the CPU."""
        outputs: Tensor = network(batch.images).float().cpu()
        numbers = outputs.double().squeeze(1) * self._task.std + self._task.mean
        truth = batch.labels.double().cpu()
        self._count.update(len(truth))
        for metric in (self._squared, self._absolute, self._explained):
            metric.update(numbers, truth)
        return outputs

    def compute(self) -> Mapping[str, float]:
        """Return ``loss``, and in the numbers' own unit ``rmse`` and ``mae``, and ``r2``, the share explained.

        The last is 0 for a network that always says the mean of these images, and there where two images or more are.
        """
        squared = float(self._squared.compute())
        explained = {"r2": float(self._explained.compute())} if int(self._count.compute()) > 1 else {}
        return {
            "loss": squared / self._task.std**2,
            "rmse": squared**0.5,
            "mae": float(self._absolute.compute()),
            **explained,
        }
