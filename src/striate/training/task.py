"""What the loop asks of whatever is to be learned: a task, its batches, its score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.data.sets import ImageSet


@dataclass(frozen=True, slots=True)
class Samples:
    """Images as they are stored, with what names them.

    Args:
        images: of a batch.
        epoch: in which they are seen, counted from 0.
        indices: of each in its set; what is done to it at random depends on them.
    """

    images: ImageSet
    epoch: int
    indices: list[int]


@dataclass(frozen=True, slots=True)
class Features:
    """What a network's last layer is given for some images.

    Args:
        values: N x features.
        labels: of the images.
    """

    values: NDArray[np.float32]
    labels: Tensor


class Step(NamedTuple):
    """What a step of training runs, but for the optimizer, as a program that can be traced takes it.

    Args:
        inputs: of what is called of the network; the first side of each is the batch.
        targets: what the loss takes besides the network's output.
        loss: of output and targets, a scalar: the mean over the batch.
        forward: what is called of the network; None for the network itself.
        shown: how many of the inputs prediction takes, too; all by default.
    """

    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    loss: Callable[..., Tensor]
    forward: Callable[..., Any] | None = None
    shown: int | None = None


@runtime_checkable
class Batch(Protocol):
    """Images as a network takes them, with what is to be learned of each."""

    @property
    def images(self) -> Tensor:
        """The network's input, N x C x H x W."""
        ...

    def __len__(self) -> int: ...

    def to(self, device: torch.device, layout: torch.memory_format, dtype: torch.dtype) -> "Batch":
        """Return the batch on a device, its images in a memory layout and a type."""
        ...

    def tensors(self) -> Sequence[Tensor]:
        """Return all that it holds."""
        ...

    def split(self, parts: int) -> "Sequence[Batch]":
        """Return the batch in parts of as many images, or one more."""
        ...


@runtime_checkable
class Score(Protocol):
    """Sums over batches, then figures of the whole."""

    def update(self, network: nn.Module, batch: Any) -> Tensor:
        """Run the network, in evaluation mode, on one batch; take its answers in, and return them."""
        ...

    def compute(self) -> Mapping[str, float]:
        """Return the figures by name; ``loss`` among them where there is one."""
        ...


@runtime_checkable
class Task(Protocol):
    """What the loop asks of a task."""

    def prepare(self, images: ImageSet) -> None:
        """Take what is needed from the training images, once."""
        ...

    def chances(self, images: ImageSet) -> NDArray[np.float64] | None:
        """Return how likely each training image is to be the next; None where an epoch shows each of them once."""
        ...

    def collate(self, samples: Samples) -> Batch:
        """Turn stored images into a batch, as they are."""
        ...

    def augment(self, samples: Samples) -> Batch:
        """Turn stored images into a batch for training, changed at random by (seed, epoch, image)."""
        ...

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Run the network on a batch and return the mean loss, a scalar."""
        ...

    def score(self) -> Score:
        """Return a fresh metric."""
        ...

    def better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        """Tell whether one epoch's metrics beat another's."""
        ...


@runtime_checkable
class Probed(Task, Protocol):
    """A task whose last layer can be fitted by itself."""

    def targets(self, labels: Any) -> Tensor:
        """Return what the network's outputs are compared with, a row for each image."""
        ...

    def compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of outputs against targets, a scalar."""
        ...

    def fit(self, features: Features, others: Features) -> Mapping[str, Tensor]:
        """Return ``weight`` and ``bias`` of the dense layer that gives the best outputs for some features.

        Args:
            features: to fit it to.
            others: to choose its penalty by.
        """
        ...
