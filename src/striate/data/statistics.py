"""Mean and standard deviation of a set's images, by which they are normalised."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from striate.data.keyed import Use, key
from striate.data.sets import ImageSet

MEASURED = 2000  # Files, of which they are known well enough.
AT_ONCE = 50


def mean_and_std(images: ImageSet, seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, on the scale from 0 to 1.

    Args:
        images: as the network takes them; of many files, a sample is read.
        seed: of the sample.
    """
    chosen = images
    if not images.is_in_memory and len(images) > MEASURED:
        order = np.random.default_rng(key(seed, Use.SAMPLE)).permutation(len(images))
        chosen = images.subset(np.sort(order[:MEASURED]).tolist())
    at_once = len(chosen) if images.is_in_memory else AT_ONCE
    starts = range(0, len(chosen), at_once)
    return measure(chosen.subset(range(start, min(start + at_once, len(chosen)))).pixels() for start in starts)


def measure(batches: Iterable[UInt8[Tensor, "_ C H W"]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, on the scale from 0 to 1: summed in integers, so exactly."""
    levels = sum(
        torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])
        for images in batches
    )
    assert isinstance(levels, Tensor)
    mean, std = [], []
    values = torch.arange(256, dtype=torch.int64)
    for counts in levels:
        count = int(counts.sum())
        total, squares = int((counts * values).sum()), int((counts * values**2).sum())
        variance = (squares - total**2 / count) / count
        mean.append(total / count / 255)
        # A channel of one level has nothing to scale.
        std.append(variance**0.5 / 255 if variance > 0 else 1.0)
    return tuple(mean), tuple(std)
