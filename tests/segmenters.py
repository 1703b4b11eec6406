"""Fresh networks that say a class for each pixel, as folders of weights; and what torch says with them at once."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.data.preprocessing import Preprocessing
from striate.weights import WeightsConfig, save_weights
from striate.zoo import create_model, load_network

CLASSES = ("ground", "water", "trees", "roofs")
COLOURS = ((90, 60, 30), (20, 60, 200), (10, 130, 40), (220, 40, 40))


def write_segmenter(
    folder: Path, backbone: str = "alexnet_owt", *, model: str = "fcn8s", channels: int = 3, **config: Any
) -> Path:
    """All scores of the network count, and its masks have small regions of all classes."""
    torch.manual_seed(1)
    network = create_model(model, num_classes=len(CLASSES), in_chans=channels, backbone=backbone)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and name.startswith(("score", "head")):
            weight = torch.randn(module.weight.shape)
            module.weight = nn.Parameter(weight - weight.mean(1, keepdim=True))  # Maps are nowhere below zero.
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            nn.init.normal_(module.running_mean, std=0.1)
    preprocessing = Preprocessing(image_size=(64, 64), mean=(0.5, 0.4, 0.3)[:channels], std=(0.2, 0.3, 0.25)[:channels])
    given: dict[str, Any] = {"task": "segment", "classes": CLASSES, "colours": COLOURS} | config
    save_weights(
        folder,
        network.state_dict(),
        WeightsConfig(model=model, model_options={"backbone": backbone}, preprocessing=preprocessing, **given),
    )
    return folder


def picture(size: tuple[int, int], channels: int = 3) -> NDArray[np.uint8]:
    """Something with large and small shapes in it."""
    made = np.random.default_rng(0).integers(0, 256, (-(-size[0] // 8), -(-size[1] // 8), channels), np.uint8)
    fine = np.random.default_rng(1).integers(-40, 41, (*size, channels))
    enlarged = made.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]].astype(np.int64)
    return (enlarged + fine).clip(0, 255).astype(np.uint8)


def logits_of(folder: Path, pixels: UInt8[np.ndarray, "h w c"]) -> Tensor:
    """Return what the network says of the whole image, at once: K x h x w."""
    network, config = load_network(folder)
    mean, std = (
        torch.tensor(values).view(-1, 1, 1) for values in (config.preprocessing.mean, config.preprocessing.std)
    )
    image = (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - mean) / std
    with torch.inference_mode():
        logits: Tensor = network(image.unsqueeze(0))[0]
    return logits


def expect_same(mask: UInt8[np.ndarray, "h w"], logits: Tensor) -> None:
    """Where two classes are as good as equal, rounding may decide; everywhere else the mask is what the logits say."""
    first, second = logits.topk(2, 0).values
    is_clear = (first - second > 1e-5 * logits.abs().max()).numpy()
    assert is_clear.mean() > 0.999
    assert np.array_equal(mask[is_clear], logits.argmax(0).numpy()[is_clear])
    assert np.unique(mask).size > 1
