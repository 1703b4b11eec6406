"""The tasks: what `striate.training.task` asks, for each kind of thing that can be learned of images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from striate.data.keyed import uniform
from striate.data.preprocessing import Preprocessing
from striate.data.sets import ImageSet
from striate.data.transforms import measure, normalise, shift
from striate.training.config import TrainConfig
from striate.training.task import Samples

AUXILIARY_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images as a network takes them, with their labels."""

    images: Float[Tensor, "N C H W"]
    labels: Int64[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device, layout: torch.memory_format, dtype: torch.dtype) -> "LabelledImages":
        """Return the batch on a device, its images in a memory layout and a type."""
        images = self.images.to(device, dtype, non_blocking=True, memory_format=layout)
        return LabelledImages(images, self.labels.to(device, non_blocking=True))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return images and labels."""
        return self.images, self.labels

    def split(self, parts: int) -> "list[LabelledImages]":
        """Return the batch in parts of as many images, or one more."""
        pairs = zip(self.images.tensor_split(parts), self.labels.tensor_split(parts), strict=True)
        return [LabelledImages(images, labels) for images, labels in pairs]


class Classification:
    """One class for each image.

    Args:
        config: loss, smoothing, mixup, shift and seed are used.
        classes: their names, in the order of the labels.
    """

    preprocessing: Preprocessing

    def __init__(self, config: TrainConfig, classes: tuple[str, ...]) -> None:
        self.config = config
        self.classes = classes

    def prepare(self, images: ImageSet) -> None:
        """Measure mean and standard deviation of the training images."""
        self.preprocessing = measure(images.images)

    def collate(self, samples: Samples) -> LabelledImages:
        """Normalise."""
        return LabelledImages(normalise(samples.images, self.preprocessing), samples.labels)

    def augment(self, samples: Samples) -> LabelledImages:
        """Move each image by up to ``shift`` pixels either way, then normalise."""
        images, most = samples.images, self.config.shift
        if most:
            draws = torch.from_numpy(uniform(self.config.seed, samples.epoch, np.array(samples.indices), 2))
            images = shift(images, (draws * (2 * most + 1)).long() - most)
        return LabelledImages(normalise(images, self.preprocessing), samples.labels)

    def loss(self, network: nn.Module, batch: LabelledImages) -> Float[Tensor, ""]:
        """Return the mean loss over the batch, after mixup and label smoothing where they are asked for.

        Mixup is of Zhang et al., "mixup: beyond empirical risk minimization", 2018: one share for the batch, each image
        with a partner from the same batch. Smoothing is of Szegedy et al., "Rethinking the Inception architecture",
        2016, section 7: (1 - s) of the target and s spread over all classes. The losses of auxiliary heads are added
        with a weight of 0.3 (Szegedy et al., "Going deeper with convolutions", 2015, section 5).
        """
        images, targets = batch.images, F.one_hot(batch.labels, len(self.classes))
        if self.config.mixup:
            share = float(torch.distributions.Beta(self.config.mixup, self.config.mixup).sample())
            partners = torch.randperm(len(targets)).to(targets.device)
            images = images.lerp(images[partners], 1 - share)
            targets = share * targets + (1 - share) * targets[partners]
        forward_all = getattr(network, "forward_all", None)
        if forward_all is None:
            return self.compare(network(images), targets, self.config.smoothing)
        loss, *auxiliary = (self.compare(logits, targets, self.config.smoothing) for logits in forward_all(images))
        return loss + AUXILIARY_WEIGHT * sum(auxiliary)

    def compare(self, logits: Float[Tensor, "N K"], targets: Tensor, smoothing: float = 0.0) -> Float[Tensor, ""]:
        """Return the mean loss of logits against targets, N x classes, that add up to 1 for each image.

        ``cross_entropy`` is the mean over images; ``mse`` the mean over images and classes of the squared difference
        between softmax and target (textbooks take half the sum over classes, classes / 2 times as much).
        """
        logits, targets = logits.float(), targets.float()  # Of heads, autocast gives 16 bits.
        if smoothing:
            targets = targets * (1 - smoothing) + smoothing / targets.shape[1]
        if self.config.loss == "mse":
            return F.mse_loss(logits.softmax(1), targets)
        return F.cross_entropy(logits, targets)

    def score(self) -> "ClassificationScore":
        """Return a fresh metric: loss (without smoothing or mixup), accuracy and the confusion matrix."""
        return ClassificationScore(self)

    def better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        """Tell whether more images are right or, with as many, the loss is lower."""
        return (metrics["accuracy"], -metrics["loss"]) > (than["accuracy"], -than["loss"])


class ClassificationScore:
    """Loss and confusion matrix, summed over batches."""

    def __init__(self, task: Classification) -> None:
        from torchmetrics import MeanMetric, Metric
        from torchmetrics.classification import MulticlassConfusionMatrix

        self._task = task
        self._loss: Metric = MeanMetric().set_dtype(torch.float64)
        self._confusion: Metric = MulticlassConfusionMatrix(len(task.classes))

    def update(self, network: nn.Module, batch: LabelledImages) -> Float[Tensor, "N K"]:
        """Run the network, in evaluation mode, on one batch; take its logits in, and return them, on the CPU."""
        logits: Tensor = network(batch.images).float().cpu()
        labels = batch.labels.cpu()
        self._loss.update(self._task.compare(logits, F.one_hot(labels, len(self._task.classes))), weight=len(labels))
        self._confusion.update(logits, labels)
        return logits

    @property
    def confusion(self) -> Int64[Tensor, "K K"]:
        """How many images of each class (rows) were taken for each class (columns)."""
        matrix: Tensor = self._confusion.compute()
        return matrix

    def compute(self) -> Mapping[str, float]:
        """Return ``loss``, the mean over images, and ``accuracy``, the share that is right."""
        return {
            "loss": float(self._loss.compute()),
            "accuracy": int(self.confusion.diag().sum()) / int(self.confusion.sum()),
        }
