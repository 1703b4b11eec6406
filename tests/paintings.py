"""Small pictures and a network with fresh weights, for tests of painting."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from striate.files import save_tensors
from striate.zoo import create_model

MODEL = "squeezenet1_0"


def write_pictures(folder: Path) -> tuple[Path, Path]:
    """Write a content, with a large shape in it, and a style of stripes; return their files."""
    rows, columns = np.mgrid[:48, :64]
    disc = (((rows - 24) ** 2 + (columns - 30) ** 2) < 200)[..., None]
    content = np.where(disc, (220, 60, 40), (60, 90, 160)).astype(np.uint8)
    down, across = np.mgrid[:60, :50]
    stripes = np.sin((down + 2 * across) / 2)[..., None]
    style = (128 + 100 * stripes * np.array([1, 0.8, -0.6])).astype(np.uint8)
    paths = folder / "content.png", folder / "style.png"
    for path, pixels in zip(paths, (content, style), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def write_network(folder: Path) -> Path:
    """Write fresh weights of a network; return their file."""
    torch.manual_seed(0)
    path = folder / "squeezenet.safetensors"
    save_tensors(path, create_model(MODEL).state_dict())
    return path
