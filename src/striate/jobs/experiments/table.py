"""The experiments that there are; none is loaded before it runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from striate.jobs.experiments.outcome import Outcome, Trying


@dataclass(frozen=True, slots=True)
class Experiment:
    """Ways of doing one thing, set beside each other on small images.

    Args:
        place: ``module:function``, which takes data and a seed.
        question: that it answers.
        data: that it takes unless told otherwise; ``shapes`` has things whose pixels are known.
    """

    place: str
    question: str
    data: str = "digits"

    def run(self, data: str, seed: int) -> "Iterator[Trying | Outcome]":
        """Yield how far it is, and at last what came of it."""
        module, _, name = self.place.partition(":")
        found = import_module(f"striate.jobs.experiments.{module}")
        return cast("Callable[[str, int], Iterator[Trying | Outcome]]", getattr(found, name))(data, seed)


EXPERIMENTS = {
    "translation": Experiment(
        "translation:compare_translation",
        "Move things pixel by pixel, before a dense network, flattened convolutions and convolutions under a mean.",
    ),
    "residual": Experiment(
        "residual:compare_residual",
        "Train networks with and without shortcuts, take blocks out, exchange them, and follow gradients along paths.",
    ),
    "symmetry": Experiment(
        "symmetry:compare_symmetry",
        "Train filters that begin alike, read alike or not, beside filters that begin at random.",
    ),
    "pooling": Experiment(
        "pooling:compare_pooling",
        "Train one small network with max pooling, average pooling, strided convolutions and neither.",
    ),
    "lrn": Experiment(
        "local_response:compare_lrn",
        "Train AlexNet's small sibling with and without local response normalization, and see whether maps spread.",
    ),
    "im2col": Experiment(
        "im2col:compare_im2col",
        "Write a small convolution out as a product of matrices, and count what that takes in VGG-16.",
    ),
    "batchnorm": Experiment(
        "batchnorm:compare_batchnorm",
        "Judge images by batch norm with statistics of many kinds, and train with and without it at two rates.",
    ),
    "overfitting": Experiment(
        "overfitting:compare_overfitting",
        "Train a large network on 100 images with weight decay, dropout, both, shifts and more images.",
    ),
    "tuning": Experiment(
        "tuning:compare_tuning",
        "Choose the best of 100 networks by the test set or by a validation set, and judge it by fresh images.",
    ),
    "initialisation": Experiment(
        "initialisation:compare_initialisation",
        "Follow activations and gradients through 20 layers by how their weights begin, with and without batch norm.",
    ),
    "optimizers": Experiment(
        "ravine:compare_optimizers",
        "Let SGD, momentum, AdaGrad, RMSProp, Adam and Nadam walk down a ravine, and train a small network with each.",
    ),
    "gradients": Experiment(
        "gradients:compare_gradients",
        "Check formulas for gradients of activations, softmax, losses and a dense layer against finite differences.",
    ),
    "losses": Experiment(
        "losses:compare_losses",
        "Move a network's weights a little, and see what loss and accuracy say of it; train it with three losses.",
    ),
    "activations": Experiment(
        "activations:compare_activations",
        "Train five dense layers with sigmoid, tanh, ReLU and nothing between them, and multiply the last into one.",
    ),
    "kernels": Experiment(
        "kernels:compare_kernels",
        "Train one small network with a 7x7 or a 5x5 kernel, and with the 3x3 kernels that see as far.",
    ),
    "inception": Experiment(
        "inception:compare_inception",
        "Count GoogLeNet's modules with their 1x1 reductions and without, and train small ones beside a chain.",
    ),
    "images": Experiment(
        "images:compare_images",
        "Train a dense network and convolutions on 50 images and more, whose things lie in the middle or anywhere.",
    ),
    "decoders": Experiment(
        "decoders:compare_decoders",
        "Tell things from the ground pixel by pixel, from maps of stride 32, 16 and 8, and look at their borders.",
        "shapes",
    ),
}
