"""What a network says of an image. Frozen, validated where they are made."""

from dataclasses import dataclass
from math import isfinite

from striate.errors import StriateError


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
