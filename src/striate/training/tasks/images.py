"""What all tasks have in common, and what those have whose answers are compared one by one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.data.boxed import Boxed
from striate.data.frames import Frame, Framing, Size, random_crop
from striate.data.keyed import uniform
from striate.data.preprocessing import Preprocessing
from striate.data.sets import ImageSet
from striate.data.transforms import jitter, normalise, shift, turn
from striate.results import UNKNOWN
from striate.training.config import TrainConfig
from striate.training.task import Batch, Features, Samples, Score, Step

AUXILIARY_WEIGHT = 0.3
MASKS = 3  # Sides of what is known of images, where it is a class for each pixel.
# Which numbers drawn for an image are for what; runs depend on them.
SHIFT, CROP, FLIP, COLOUR, TURN, DRAWS = slice(0, 2), slice(2, 6), 6, slice(7, 10), slice(10, 13), 13

Labels = Int64[Tensor, " N"] | Float[Tensor, " N"] | UInt8[Tensor, "N H W"]


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images as a network takes them, with the class, the number or the mask of each."""

    images: Float[Tensor, "N C H W"]
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device, layout: torch.memory_format, dtype: torch.dtype) -> "LabelledImages":
        """Return the batch on a device, its images in a memory layout and a type."""
        images = self.images.to(device, dtype, non_blocking=True, memory_format=layout)
        return LabelledImages(images, self.labels.to(device, non_blocking=True))

    @property
    def shown(self) -> tuple[Tensor]:
        """What the network is shown."""
        return (self.images,)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return images and labels."""
        return self.images, self.labels

    def split(self, parts: int) -> "list[LabelledImages]":
        """Return the batch in parts of as many images, or one more."""
        pairs = zip(self.images.tensor_split(parts), self.labels.tensor_split(parts), strict=True)
        return [LabelledImages(images, labels) for images, labels in pairs]


def labelled(preprocessing: Preprocessing, samples: Samples) -> LabelledImages:
    """Return images as a network takes them, nothing about them changed; of those with boxes, without these."""
    images = samples.images
    known = images.labels if isinstance(images, Boxed) else images.known()
    assert isinstance(known, Tensor)
    return LabelledImages(normalise(images.pixels(), preprocessing), known)


def moved(
    images: UInt8[Tensor, "N C H W"], config: TrainConfig, draws: NDArray[np.float64], fill: int | None = None
) -> UInt8[Tensor, "N C H W"]:
    """Mirror, turn and move each image as its row of ``draws`` decides.

    Args:
        images: or masks, with one channel.
        config: how much.
        draws: numbers in [0, 1), those of masks the same as of their images.
        fill: of masks, what comes in from outside.
    """
    if config.hflip:
        mirrored = torch.from_numpy(draws[:, FLIP] < config.hflip)[:, None, None, None]
        images = torch.where(mirrored, images.flip(3), images)
    if config.rotate or config.zoom:
        images = turn(images, config.rotate, config.zoom, torch.from_numpy(draws[:, TURN]), fill)
    if config.shift:
        offsets = (torch.from_numpy(draws[:, SHIFT]) * (2 * config.shift + 1)).long() - config.shift
        images = shift(images, offsets, fill or 0)
    return images


class ImageTask(ABC):
    """What is learned of images.

    Args:
        config: what is done to images in training, the loss, and the seed.
        preprocessing: how images become the network's input.
    """

    def __init__(self, config: TrainConfig, preprocessing: Preprocessing) -> None:
        self.config, self.preprocessing = config, preprocessing

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Classes that the network tells, or numbers that it gives for each image."""

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Return what the weights say of the task, for `striate.weights.WeightsConfig`."""

    @abstractmethod
    def prepare(self, images: ImageSet) -> None:
        """Take what is needed from the training images, once."""

    def adapt(self, network: nn.Module) -> None:
        """Have a fresh network begin as suits the training images; as it is, unless a task says otherwise."""
        return

    @abstractmethod
    def step(self, network: nn.Module, images: Float[Tensor, "N C H W"]) -> Step:
        """Return what a step of training runs, without an optimizer, on such images and as much as is known of each.

        Args:
            network: that learns.
            images: on torch's meta device.
        """

    @abstractmethod
    def collate(self, samples: Samples) -> Batch:
        """Normalise."""

    @abstractmethod
    def augment(self, samples: Samples) -> Batch:
        """Change each image as (seed, epoch, image) decide, then normalise."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Any) -> Float[Tensor, ""]:
        """Return the mean loss over the batch."""

    @abstractmethod
    def score(self) -> Score:
        """Return a fresh metric."""

    def chances(self, images: ImageSet) -> NDArray[np.float64] | None:
        """Show each training image once an epoch."""
        return None

    def better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        """Tell whether the loss is lower."""
        return metrics["loss"] < than["loss"]

    def drawn(self, samples: Samples) -> tuple[NDArray[np.float64], Framing | None]:
        """Return the random numbers of each image, and which part of it they choose; None for its middle."""
        config, image_size = self.config, self.preprocessing.image_size
        draws = uniform(config.seed, samples.epoch, np.array(samples.indices), DRAWS)

        def frame(place: int, size: Size) -> Frame:
            return random_crop(size, image_size, config.crop_scale, draws[place, CROP].tolist())

        return draws, frame if config.crop_scale < 1 else None

    def coloured(self, images: UInt8[Tensor, "N C H W"], draws: NDArray[np.float64]) -> Float[Tensor, "N C H W"]:
        """Return images in other colours, as their draws decide, and normalised."""
        if self.config.color_jitter:
            images = jitter(images, self.config.color_jitter, torch.from_numpy(draws[:, COLOUR]))
        return normalise(images, self.preprocessing)


class LabelTask(ImageTask):
    """One answer for each image, or for each of its pixels, compared with what is known."""

    label_dtype: torch.dtype

    def blank(self, count: int) -> Tensor:
        """Return what is known of so many images as a batch holds it, on torch's meta device."""
        return torch.empty(count, dtype=self.label_dtype, device="meta")

    @abstractmethod
    def targets(self, labels: Labels) -> Tensor:
        """Return what the network's outputs are compared with, a row for each image."""

    @abstractmethod
    def compare(self, outputs: Float[Tensor, "N K"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the mean loss of outputs against `targets`."""

    def compare_in_training(self, outputs: Float[Tensor, "N K"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the loss that is learned from: the same, unless a task has another."""
        return self.compare(outputs, targets)

    @abstractmethod
    def fit(self, features: Features, others: Features) -> Mapping[str, Tensor]:
        """Return ``weight`` and ``bias`` of the dense layer that gives the best outputs for some features."""

    def step(self, network: nn.Module, images: Float[Tensor, "N C H W"]) -> Step:
        """Return the network, all its heads, and the loss of what these say."""

        def loss(outputs: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
            return self.total(outputs, self.targets(labels))

        forward = getattr(type(network), "forward_all", None)
        return Step([images], [self.blank(len(images))], loss, forward)

    def collate(self, samples: Samples) -> LabelledImages:
        """Normalise."""
        return labelled(self.preprocessing, samples)

    def augment(self, samples: Samples) -> LabelledImages:
        """Cut, mirror, turn, move and colour each image as (seed, epoch, image) decide, then normalise.

        Masks are cut, mirrored, turned and moved with their images.
        """
        draws, framing = self.drawn(samples)
        images = moved(samples.images.pixels(framing), self.config, draws)
        known = samples.images.known(framing)
        assert isinstance(known, Tensor), "boxes are not for one answer an image"
        if known.ndim == MASKS:
            known = moved(known.unsqueeze(1), self.config, draws, UNKNOWN).squeeze(1)
        return LabelledImages(self.coloured(images, draws), known)

    def loss(self, network: nn.Module, batch: LabelledImages) -> Float[Tensor, ""]:
        """Return the mean loss over the batch, after mixup and label smoothing where they are asked for.

        Mixup is of Zhang et al., "mixup: beyond empirical risk minimization", 2018: one share for the batch, each image
        with a partner from the same batch.
        """
        images, targets = batch.images, self.targets(batch.labels)
        if self.config.mixup:
            share = float(torch.distributions.Beta(self.config.mixup, self.config.mixup).sample())
            partners = torch.randperm(len(targets)).to(targets.device)
            images = images.lerp(images[partners], 1 - share)
            targets = share * targets + (1 - share) * targets[partners]
        return self.total(getattr(network, "forward_all", network)(images), targets)

    def total(self, outputs: Tensor | Sequence[Tensor], targets: Tensor) -> Float[Tensor, ""]:
        """Return the loss of all that a network gives: its outputs, and those of auxiliary heads if it has any.

        The heads' losses are added with a weight of 0.3 (Szegedy et al., "Going deeper with convolutions", 2015,
        section 5).
        """
        if isinstance(outputs, Tensor):
            return self.compare_in_training(outputs, targets)
        loss, *auxiliary = (self.compare_in_training(each, targets) for each in outputs)
        return loss + AUXILIARY_WEIGHT * sum(auxiliary)
