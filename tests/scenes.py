"""Pictures of coloured boxes on grey ground, with their masks, for tests that need no real ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LEVELS = np.array([(90, 90, 90), (200, 40, 40), (40, 40, 200)])  # Ground, red and blue.


def draw_scene(seed: int, size: tuple[int, int] = (40, 52)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture, height x width x 3, and the class of each pixel: 0 ground, 1 red, 2 blue."""
    random = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    for number in (1, 2):
        top, left = random.integers(0, size[0] - 18), random.integers(0, size[1] - 18)
        mask[top : top + random.integers(10, 18), left : left + random.integers(10, 18)] = number
    noise = random.integers(-25, 26, (*size, 3))
    return (LEVELS[mask] + noise).astype(np.uint8), mask


def write_scenes(root: Path, counts: Mapping[str, int], unknown: int = 0) -> Path:
    """Write images and masks, in folders of parts; the first ``unknown`` columns of each mask hold 255."""
    for number, (part, count) in enumerate(counts.items()):
        for kind in ("images", "masks"):
            (root / part / kind).mkdir(parents=True, exist_ok=True)
        for seed in range(1000 * number, 1000 * number + count):
            picture, mask = draw_scene(seed)
            mask[:, :unknown] = 255
            Image.fromarray(picture).save(root / part / "images" / f"{seed}.png")
            Image.fromarray(mask).save(root / part / "masks" / f"{seed}.png")
    return root
