"""What a network says of an image. Frozen, validated where they are made."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Detections:
    """Which things a network found in one image, where each is, and how sure of it the network is.

    A mask covers the window of its box and no more: those of all things together then take as many bytes as their boxes
    have pixels, where masks of the whole image would take one for each thing and pixel of it, 12 MB for each thing in a
    photograph of 12 megapixels.

    Args:
        names: the classes, in the network's order.
        boxes_xyxy: in pixels, within the image.
        scores: between 0 and 1.
        labels: the class of each, an index into ``names``.
        image_size: (height, width) of the image.
        masks: for each box the pixels of its `window` that are the thing's; None where the network says no masks.
    """

    names: tuple[str, ...]
    boxes_xyxy: Float32[np.ndarray, "N 4"]
    scores: Float32[np.ndarray, " N"]
    labels: Int64[np.ndarray, " N"]
    image_size: tuple[int, int]
    masks: tuple[Bool[np.ndarray, "_ _"], ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        if self.boxes_xyxy.shape != (count, 4) or self.scores.shape != (count,) or self.labels.shape != (count,):
            raise StriateError(
                expected="a box of four numbers, a score and a label for each thing",
                received=f"arrays of shape {self.boxes_xyxy.shape}, {self.scores.shape} and {self.labels.shape}",
                remedy="Give the same number of each.",
            )
        height, width = self.image_size
        left, top, right, bottom = self.boxes_xyxy.T
        # Written so that what is not a number is refused.
        is_inside = (left >= 0) & (top >= 0) & (left <= right) & (top <= bottom) & (right <= width) & (bottom <= height)
        self._expect(is_inside, f"boxes xyxy within an image of {width}x{height} pixels", self.boxes_xyxy)
        self._expect((self.scores >= 0) & (self.scores <= 1), "scores from 0 to 1", self.scores)
        is_known = (self.labels >= 0) & (self.labels < len(self.names))
        self._expect(is_known, f"labels from 0 to {len(self.names) - 1}, one for each class", self.labels)
        if self.masks is not None:
            sizes = [mask.shape for mask in self.masks]
            windows = [(bottom - top, right - left) for left, top, right, bottom in map(self.window, range(count))]
            if sizes != windows:
                raise StriateError(
                    expected="for each box a mask of its window",
                    received=f"masks of {sizes[:5]} for windows of {windows[:5]}",
                    remedy="Cut the masks to ⌊left⌋, ⌊top⌋, ⌈right⌉, ⌈bottom⌉ of their boxes.",
                )

    def _expect(self, is_right: NDArray[np.bool_], expected: str, values: NDArray[np.generic]) -> None:
        if not is_right.all():
            place = int(is_right.argmin())
            raise StriateError(
                expected=expected,
                received=f"{values[place].tolist()} of thing {place}",
                remedy="Clip boxes to the image; give probabilities, and the classes that the network was trained on.",
            )

    def __len__(self) -> int:
        return len(self.scores)

    def window(self, place: int) -> tuple[int, int, int, int]:
        """Return the whole pixels that a box touches, as left, top, right and bottom edge."""
        left, top, right, bottom = self.boxes_xyxy[place]
        return int(np.floor(left)), int(np.floor(top)), int(np.ceil(right)), int(np.ceil(bottom))

    def mask(self, place: int) -> Bool[np.ndarray, "H W"]:
        """Return one thing's pixels in the whole image; those of its box where there are no masks."""
        left, top, right, bottom = self.window(place)
        whole = np.zeros(self.image_size, bool)
        whole[top:bottom, left:right] = True if self.masks is None else self.masks[place]
        return whole

    def above(self, score: float) -> "Detections":
        """Return the things with a score of at least so much."""
        return self._at(np.flatnonzero(self.scores >= score))

    def of(self, names: Collection[str]) -> "Detections":
        """Return the things of some classes.

        Raises:
            UsageError: for a class that is none of these.
        """
        for name in names:
            if name not in self.names:
                raise UsageError(
                    expected="classes that the network knows", received=repr(name), remedy=nearest(name, self.names)
                )
        wanted = [place for place, name in enumerate(self.names) if name in names]
        return self._at(np.flatnonzero(np.isin(self.labels, wanted)))

    def best(self, count: int) -> "Detections":
        """Return the ``count`` things with the highest scores, the highest first; of equal ones, the first."""
        return self._at(np.argsort(-self.scores, kind="stable")[:count])

    def _at(self, places: NDArray[np.int64]) -> "Detections":
        masks = None if self.masks is None else tuple(self.masks[place] for place in places)
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[places],
            scores=self.scores[places],
            labels=self.labels[places],
            masks=masks,
        )
