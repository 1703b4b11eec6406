"""Random numbers that depend on nothing but their key.

Training draws every number from (seed, epoch, image), never from a stream that somebody advances, so the number of
workers, the order of loading and an interruption change nothing.
"""

from enum import IntEnum

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


class Use(IntEnum):
    """What random numbers are for; each use draws its own. Runs depend on the values: append, never renumber."""

    WEIGHTS = 0
    TEST_SPLIT = 1
    VAL_SPLIT = 2
    ORDER = 3
    AUGMENTATION = 4
    STEP = 5
    STATISTICS = 6
    SAMPLE = 7


def key(seed: int, use: Use, position: int = 0) -> int:
    """Mix a use and a position, such as an epoch or a step, into ``seed``: another 63-bit seed for each combination."""
    state = np.random.SeedSequence([seed, use, position]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def uniform(seed: int, epoch: int, indices: NDArray[np.int64], draws: int) -> Float[np.ndarray, "images draws"]:
    """Return numbers in [0, 1), a row for each image and a column for each draw, from (seed, epoch, image, draw).

    The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014) used as
    a function of its counter, so that a whole batch is drawn at once.
    """
    start = np.uint64(key(seed, Use.AUGMENTATION, epoch))
    with np.errstate(over="ignore"):
        image = _mix(start + indices.astype(np.uint64)[:, None] * _STEP)
        state = _mix(image + (np.arange(draws, dtype=np.uint64) + np.uint64(1))[None, :] * _STEP)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


_STEP = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
