"""What a network says of an image. Frozen, validated where they are made."""

from dataclasses import dataclass
from math import isfinite

import numpy as np
from jaxtyping import Float32, UInt8

from striate.errors import StriateError, UsageError, nearest

Colour = tuple[int, int, int]  # Red, green and blue, from 0 to 255.

UNKNOWN = (
    255  # In a class for each pixel, which has a byte: one that nobody knows. So there are at most as many classes.
)


@dataclass(frozen=True, slots=True)
class Classes:
    """How probable each class is for one image.

    Args:
        names: the classes, in the network's order.
        probabilities: one for each, between 0 and 1, adding up to 1.
    """

    names: tuple[str, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        shares = all(0 <= share <= 1 for share in self.probabilities) and abs(sum(self.probabilities) - 1) < 1e-3
        if len(self.names) != len(self.probabilities) or not shares:
            raise StriateError(
                expected=f"{len(self.names)} probabilities that add up to 1, one for each class",
                received=f"{len(self.probabilities)}: {self.probabilities[:5]}",
                remedy="Give the softmax of the network's logits, and the classes that it was trained on.",
            )

    @property
    def best(self) -> int:
        """The index of the most probable class."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)

    @property
    def name(self) -> str:
        """The most probable class."""
        return self.names[self.best]

    @property
    def probability(self) -> float:
        """How probable that class is."""
        return self.probabilities[self.best]

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the ``count`` most probable classes with their probabilities, most probable first."""
        order = sorted(range(len(self.names)), key=lambda index: -self.probabilities[index])
        return [(self.names[index], self.probabilities[index]) for index in order[:count]]


@dataclass(frozen=True, slots=True)
class Number:
    """A number that is said of one image.

    Args:
        value: in the unit of the numbers that were learned.
    """

    value: float

    def __post_init__(self) -> None:
        if not isfinite(self.value):
            raise StriateError(
                expected="a number for each image",
                received=str(self.value),
                remedy="The network's weights are not finite, or its input is not: look at both.",
            )


@dataclass(frozen=True, slots=True)
class ClassMap:
    """How probable each class is at each place of one image.

    Args:
        names: the classes, in the network's order.
        probabilities: of each class at each place; at each place they add up to 1.
        window: (height, width) of the part of the image that a place is about.
        stride: pixels from one place's window to the next one's, down and across.
        image_size: (height, width) of the image.
    """

    names: tuple[str, ...]
    probabilities: Float32[np.ndarray, "K h w"]
    window: tuple[int, int]
    stride: tuple[int, int]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        shares = self.probabilities
        is_right = shares.ndim == 3 and len(shares) == len(self.names) and shares.size > 0
        if not is_right or not np.allclose(shares.sum(0), 1, atol=1e-3):
            raise StriateError(
                expected=f"{len(self.names)} probabilities at each place, which add up to 1",
                received=f"an array of shape {shares.shape}",
                remedy="Give the softmax over the classes, and the classes that the network was trained on.",
            )

    @property
    def overall(self) -> Classes:
        """The mean over all places."""
        shares = self.probabilities.mean((1, 2), np.float64)
        return Classes(self.names, tuple(shares / shares.sum()))

    def of(self, name: str) -> Float32[np.ndarray, "h w"]:
        """Return how probable one class is at each place.

        Raises:
            UsageError: for a class that is none of these.
        """
        if name not in self.names:
            raise UsageError(
                expected="one of the network's classes", received=repr(name), remedy=nearest(name, self.names)
            )
        shares: Float32[np.ndarray, "h w"] = self.probabilities[self.names.index(name)]
        return shares

    def strongest(self, name: str) -> tuple[float, tuple[int, int]]:
        """Return how probable a class is where it is most so, and the top left corner of that window, in pixels."""
        shares = self.of(name)
        row, column = np.unravel_index(int(shares.argmax()), shares.shape)
        return float(shares[row, column]), (int(row) * self.stride[0], int(column) * self.stride[1])


@dataclass(frozen=True, slots=True)
class Mask:
    """The class of each pixel of one image.

    Args:
        names: the classes, in the network's order.
        classes: of each pixel, its place among the names.
    """

    names: tuple[str, ...]
    classes: UInt8[np.ndarray, "h w"]

    def __post_init__(self) -> None:
        said = self.classes
        if said.ndim != 2 or said.dtype != np.uint8 or not said.size or said.max() >= len(self.names):
            most = f" with numbers up to {said.max()}" if said.size else ""
            raise StriateError(
                expected=f"a number from 0 to {len(self.names) - 1} for each pixel, in a byte, height x width",
                received=f"{said.dtype} of shape {said.shape}{most}",
                remedy="Give the largest logit's place at each pixel, and the classes that the network was trained on.",
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the pixels, how many are of each class."""
        pixels = np.bincount(self.classes.ravel(), minlength=len(self.names))
        return tuple((pixels / self.classes.size).tolist())
