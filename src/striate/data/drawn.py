"""An embedded set of drawn things, to learn to find them: it is made whenever it is asked for, always the same."""

from collections.abc import Callable, Mapping, Sequence
from math import cos, pi, sin

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, UInt8
from numpy.typing import NDArray

from striate.data.annotations import Annotation, Instance
from striate.data.boxed import BoxedTensors
from striate.data.outlines import Numbered

SIDE = 96  # Pixels of an image.
COUNTS = {"train": 320, "val": 64, "test": 96}
FEWEST, MOST = 2, 6  # Things in an image.
SMALLEST, LARGEST = 7.0, 19.0  # Pixels from a thing's middle to its farthest point.
SEEN = 0.35  # Of each thing, whatever lies over it; 25 pixels or more.
FEWEST_PIXELS = 25
CONTRAST = 60  # Of a thing's colour to the ground, at least, in one of red, green and blue.
TRIES = 40  # To place a thing.
SEED = 2012

Plane = NDArray[np.float64]  # Numbers at each pixel.
Pixels = Bool[np.ndarray, "H W"]


# What is at most 1 inside of each thing, whose farthest point is 1 from its middle.
def _circle(x: Plane, y: Plane) -> Plane:
    return (x**2 + y**2) ** 0.5


def _square(x: Plane, y: Plane) -> Plane:
    return np.maximum(abs(x), abs(y)) * 2**0.5


def _triangle(x: Plane, y: Plane) -> Plane:
    first, second, third = (2 * (cos(angle) * x + sin(angle) * y) for angle in (pi / 2, pi * 7 / 6, pi * 11 / 6))
    return np.maximum(np.maximum(first, second), third)


def _cross(x: Plane, y: Plane) -> Plane:
    long, short = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    return np.maximum(long / 0.94, short / 0.34)


SHAPES: Mapping[str, Callable[[Plane, Plane], Plane]] = {
    "circle": _circle,
    "cross": _cross,
    "square": _square,
    "triangle": _triangle,
}


def load_shapes(mask_side: int | None = None) -> dict[str, BoxedTensors]:
    """Return 320 images to learn from (train), 64 to choose by (val) and 96 to test with (test), of 96 x 96 pixels.

    In each are two to six circles, crosses, squares and triangles of any size, turn and colour, some behind others, on
    uneven ground. Boxes and outlines are of what is seen of them.

    Args:
        mask_side: see `striate.data.boxed.Boxed`.
    """
    return {name: _part(number, name, count, mask_side) for number, (name, count) in enumerate(COUNTS.items())}


def _part(number: int, name: str, count: int, mask_side: int | None) -> BoxedTensors:
    images, annotations = [], []
    for place in range(count):
        image, annotation = draw_image(np.random.default_rng([SEED, number, place]))
        images.append(image)
        annotations.append(annotation)
    return BoxedTensors(
        images=torch.from_numpy(np.stack(images)),
        labels=torch.zeros(count, dtype=torch.int64),
        classes=tuple(SHAPES),
        name=f"shapes {name}",
        annotations=tuple(annotations),
        most=MOST,
        mask_side=mask_side,
    )


def draw_image(random: np.random.Generator) -> tuple[UInt8[np.ndarray, "3 H W"], Annotation]:
    """Draw one image, and tell what is in it."""
    levels, ground = _ground(random)
    owner = np.zeros((SIDE, SIDE), np.int64)
    labels, areas = list[str](), list[int]()
    for _ in range(int(random.integers(FEWEST, MOST + 1))):
        label = list(SHAPES)[int(random.integers(len(SHAPES)))]
        inside = _place(random, label, owner, areas)
        if inside is not None:
            labels.append(label)
            areas.append(int(inside.sum()))
            owner[inside] = len(labels)
            levels[:, inside] = _paint(random, ground)[:, inside]
    noise = random.normal(0, 6, levels.shape)
    image: UInt8[np.ndarray, "3 H W"] = (levels + noise).round().clip(0, 255).astype(np.uint8)
    return image, Annotation(tuple(_instance(owner, number, label) for number, label in enumerate(labels, 1)))


def _ground(random: np.random.Generator) -> tuple[Float64[np.ndarray, "3 H W"], NDArray[np.float64]]:
    """Return uneven ground, and its mean colour."""
    colour = random.uniform(60, 195, 3)
    waves = np.zeros((SIDE, SIDE))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for _ in range(4):
        angle, length = random.uniform(0, 2 * pi), random.uniform(8, 60)
        waves += random.uniform(4, 12) * np.sin((cos(angle) * rows + sin(angle) * columns) * 2 * pi / length)
    tint = random.uniform(0.5, 1, 3)
    return colour[:, None, None] + tint[:, None, None] * waves, colour


def _place(
    random: np.random.Generator, label: str, owner: Int64[np.ndarray, "H W"], areas: Sequence[int]
) -> Pixels | None:
    """Return the pixels of one more thing, which hides none of the others too much; None where there is no room."""
    fewest = np.maximum(SEEN * np.array(areas), FEWEST_PIXELS)
    for _ in range(TRIES):
        inside = _inside(random, label)
        hidden = (np.bincount(owner[~inside], minlength=len(areas) + 1)[1:] < fewest).any()
        if inside.sum() >= 2 * FEWEST_PIXELS and not hidden:
            return inside
    return None


def _inside(random: np.random.Generator, label: str) -> Pixels:
    """Return the pixels of a thing of any size and turn, of which the middle at least lies in the image."""
    radius, angle = random.uniform(SMALLEST, LARGEST), random.uniform(0, 2 * pi)
    across, down = random.uniform(0.6 * radius, SIDE - 0.6 * radius, 2)
    rows, columns = (side + 0.5 for side in np.mgrid[:SIDE, :SIDE])
    x, y = (columns - across) / radius, (rows - down) / radius
    inside: Pixels = np.less_equal(SHAPES[label](cos(angle) * x - sin(angle) * y, sin(angle) * x + cos(angle) * y), 1)
    return inside


def _paint(random: np.random.Generator, ground: NDArray[np.float64]) -> Float64[np.ndarray, "3 H W"]:
    """Return a colour that stands out from the ground, plain or in stripes."""
    colour = random.uniform(0, 255, 3)
    while abs(colour - ground).max() < CONTRAST:
        colour = random.uniform(0, 255, 3)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    angle, length = random.uniform(0, 2 * pi), random.uniform(4, 10)
    stripes = np.sin((cos(angle) * rows + sin(angle) * columns) * 2 * pi / length)
    painted: Float64[np.ndarray, "3 H W"] = colour[:, None, None] + random.choice([0, 18]) * stripes[None]
    return painted


def _instance(owner: Int64[np.ndarray, "H W"], number: int, label: str) -> Instance:
    rows, columns = ((owner == number).any(side).nonzero()[0] for side in (1, 0))
    box = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    return Instance(box, label, outline=Numbered(owner, number))
