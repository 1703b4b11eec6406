"""Folders of small pictures that can be told apart, for tests that need no real ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def draw(colour: Sequence[int], seed: int, size: tuple[int, int] = (24, 30)) -> Image.Image:
    """A picture of one colour, with noise."""
    noise = np.random.default_rng(seed).integers(-35, 36, (*size, 3))
    return Image.fromarray((np.array(colour) + noise).astype(np.uint8))


def write_class(folder: Path, colour: Sequence[int], seeds: Sequence[int], suffix: str = ".png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:03}{suffix}" for seed in seeds]
    for path, seed in zip(paths, seeds, strict=True):
        draw(colour, seed, (20 + seed % 7, 26 + seed % 5)).save(path)
    return paths


def write_folder(root: Path, counts: Mapping[str, int], classes: Sequence[str] = tuple(COLOURS)) -> Path:
    """A folder of class folders, or for other parts than "" of parts with such folders, with so many images of each."""
    for number, (part, count) in enumerate(counts.items()):
        for place, name in enumerate(classes):
            first = 1000 * number + 100 * place
            write_class(root / part / name, COLOURS[name], range(first, first + count))
    return root
