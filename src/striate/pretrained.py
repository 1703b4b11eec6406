"""Weights to begin with: a file, a folder, a run, or those that others published on the Hugging Face hub."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from striate.data.preprocessing import Preprocessing
from striate.errors import StriateError, UsageError
from striate.weights import CONFIG_FILE, WEIGHTS_FILE, WeightsConfig, find_weights, read_weights_config, weights_folder

HUB = "hub"
# On the hub, under timm/.
REPOSITORIES = {
    "vgg11": "vgg11.tv_in1k",
    "vgg13": "vgg13.tv_in1k",
    "vgg16": "vgg16.tv_in1k",
    "vgg16_bn": "vgg16_bn.tv_in1k",
    "vgg19": "vgg19.tv_in1k",
    "resnet18": "resnet18.tv_in1k",
    "resnet34": "resnet34.tv_in1k",
    "resnet50": "resnet50.tv_in1k",
    "resnet101": "resnet101.tv_in1k",
    "resnet152": "resnet152.tv_in1k",
    "seresnet18": "legacy_seresnet18.in1k",
    "seresnet50": "legacy_seresnet50.in1k",
    "seresnet152": "legacy_seresnet152.in1k",
    "senet154": "legacy_senet154.in1k",
    "xception": "legacy_xception.tf_in1k",
    "mobilenet_v2": "mobilenetv2_100.ra_in1k",
}
# Of ImageNet's images, with which nearly all published weights were trained.
IMAGENET_MEAN, IMAGENET_STD, IMAGENET_CROP = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Weights at hand, and what came with them.

    Args:
        file: safetensors.
        origin: what they are called, for people.
        config: ours, where they are in a folder that `striate.save_weights` wrote.
        preprocessing: that their publisher says; None where nobody does.
        licence: that their publisher says; empty where nobody does.
    """

    file: Path
    origin: str
    config: WeightsConfig | None = None
    preprocessing: Preprocessing | None = None
    licence: str = ""


def open_pretrained(source: str | Path, model: str, *backbones: str) -> Pretrained:
    """Find weights, and download them where that is asked for and they are not at hand yet.

    Args:
        source: a safetensors file, a folder of weights, a run, or ``hub``.
        model: the network's name in the zoo.
        backbones: networks whose weights it can begin with as well; of the hub, these are taken.

    Raises:
        UsageError: for another network's weights, or a network that has none on the hub.
        StriateError: where the hub cannot be reached, with which file to put where.
    """
    if not isinstance(source, str | Path):
        raise UsageError(
            expected="a safetensors file, a folder of weights, a run or hub as pretrained",
            received=repr(source),
            remedy="`striate models` says which are at hand; leave it out for fresh weights.",
        )
    if source == HUB:
        return _from_hub((model, *backbones)[-1])
    place = find_weights(source)
    if place.name == WEIGHTS_FILE and (place.parent / CONFIG_FILE).is_file():
        place = place.parent
    if not place.is_dir():
        return Pretrained(place, str(source))
    if _is_published(place):
        return _published(place, str(source))
    config = read_weights_config(place)
    if config.model not in (model, *backbones):
        raise UsageError(
            expected=f"weights of {' or '.join((model, *backbones))}",
            received=f"those of {config.model} in {place}",
            remedy=f"Take it as backbone: --model-kwargs backbone={config.model}; or name other weights."
            if backbones
            else f"Take --model {config.model}, or name other weights.",
        )
    return Pretrained(place / WEIGHTS_FILE, str(source), config, config.preprocessing, config.licence)


def _from_hub(model: str) -> Pretrained:
    if model not in REPOSITORIES:
        raise UsageError(
            expected="a network whose weights are on the hub",
            received=model,
            remedy="Name a file of weights instead: --pretrained FILE.safetensors, under torchvision's names.",
        )
    repository = f"timm/{REPOSITORIES[model]}"
    folder = weights_folder() / REPOSITORIES[model]
    if not (folder / WEIGHTS_FILE).is_file():
        folder = _download(repository, folder)
    # The hub's cache names a folder by what was published when.
    return _published(folder, f"{repository}@{folder.name[:12]}")


def _published(folder: Path, origin: str) -> Pretrained:
    """Return weights with what timm says of them."""
    published = _read_published(folder / CONFIG_FILE)
    licence = str(published.get("license") or "")
    return Pretrained(folder / WEIGHTS_FILE, origin, None, _preprocessing_of(published, folder), licence)


def _is_published(folder: Path) -> bool:
    try:
        return "pretrained_cfg" in json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _download(repository: str, folder: Path) -> Path:
    """Have the hub's own library fetch the two files into its cache, which it checks and resumes; return where."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # Of its HTTP library, which may change.

    try:
        config, _ = (Path(hf_hub_download(repository, name)) for name in (CONFIG_FILE, WEIGHTS_FILE))
    except (HTTPError, OSError) as error:
        raise StriateError(
            expected=f"to download {repository} from the Hugging Face hub",
            received=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            remedy=f"On a machine with a network, fetch {WEIGHTS_FILE} and {CONFIG_FILE} from "
            f"https://huggingface.co/{repository}/tree/main, and put both into {folder}.",
        ) from error
    return config.parent


def _read_published(path: Path) -> dict[str, Any]:
    """Read what timm says of weights: ``pretrained_cfg`` in ``config.json``."""
    try:
        published = json.loads(path.read_text(encoding="utf-8"))["pretrained_cfg"]
        if not isinstance(published, dict):
            raise TypeError(f"pretrained_cfg is {type(published).__name__}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StriateError(
            expected=f"timm's description of the weights in {path}",
            received=f"{type(error).__name__}: {error}",
            remedy="Fetch that file again, or delete its folder.",
        ) from error
    return published


def _preprocessing_of(published: dict[str, Any], folder: Path) -> Preprocessing:
    try:
        _, height, width = published["input_size"]
        return Preprocessing(
            image_size=(height, width),
            mean=published["mean"],
            std=published["std"],
            crop_pct=published["crop_pct"],
            interpolation=published["interpolation"],
        )
    except (KeyError, ValueError, TypeError, ValidationError) as error:
        raise StriateError(
            expected=f"input_size, mean, std, crop_pct and interpolation in {folder / CONFIG_FILE}",
            received=" ".join(str(error).split())[:200],
            remedy="Fetch that file again, or give --mean, --std and --image-size with --pretrained FILE.",
        ) from error


def usual_preprocessing(image_size: tuple[int, int]) -> Preprocessing:
    """Return what published weights were trained with, where nobody says otherwise."""
    return Preprocessing(image_size=image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD, crop_pct=IMAGENET_CROP)
