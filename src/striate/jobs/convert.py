"""A trained classifier as one that answers at every place of an image, and how far it is from the classifier slid."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from striate.blocks.classifier import ImageClassifier, find_stem
from striate.data.frames import middle
from striate.data.images import Picture
from striate.data.transforms import normalise, to_input
from striate.errors import StriateError, UsageError
from striate.inference.conversion import Change
from striate.inference.convolutional import FullyConvolutional, padded_layers, slide
from striate.inference.convolutional import fully_convolutional as convert_network
from striate.inference.tiles.passes import Passes
from striate.jobs.predict import find_sources, prepare
from striate.jobs.questions import check_conversion
from striate.training.folder import RunFolder
from striate.weights import WeightsConfig, save_weights
from striate.zoo import load_network

TOLERANCE = 1e-3  # Of the largest logit: other kernels add in another order.
COMPARED, SLID = 8, 4  # Images: by the classifier's own size, and larger.
AT_ONCE = 16
LARGER = 2  # Windows along each side of the larger ones.


@dataclass(frozen=True, slots=True)
class Slid:
    """How far a converted network is from the classifier slid over larger images.

    Args:
        windows: that were compared.
        furthest: the largest difference of a class's probability.
        mean: of these differences.
        same: share of the windows with the same most probable class.
    """

    windows: int
    furthest: float
    mean: float
    same: float


@dataclass(frozen=True, slots=True)
class Converted:
    """A classifier that answers at every place.

    Args:
        folder: with its weights and their config.
        window: (height, width) of what each answer is about.
        stride: pixels from one window to the next, down and across.
        changes: of its layers.
        difference: the largest from the classifier on images of its own size, as a share of the largest logit.
        padded: layers that put zeros around their maps: in the classifier slid, around each window.
        whole: layers that look at the whole image, instead of at a window of it.
        slid: how far it is from the classifier slid, on images with twice its sides.
    """

    folder: Path
    window: tuple[int, int]
    stride: tuple[int, int]
    changes: tuple[Change, ...]
    difference: float
    padded: tuple[str, ...]
    whole: tuple[str, ...]
    slid: Slid


def fully_convolutional(
    network: nn.Module, image_shape: tuple[int, int, int] | None = None, *, stride: int = 1
) -> FullyConvolutional:
    """Return a classifier with convolutions in place of its dense layers, for larger images; both share all weights.

    Args:
        network: put into evaluation mode; of the zoo, or any module that ends in dense layers or in a pooling over the
            whole map.
        image_shape: (channels, height, width) of the images that it was made for; by default, that of a network which
            was built for one.
        stride: of the first layer that sees the whole map: places of the map from one answer to the next.

    Raises:
        UsageError: where nobody says what images it was made for.
        StriateError: where it cannot be done, with the layer and the reason.
    """
    if image_shape is None:
        size, stem = getattr(network, "image_size", None), find_stem(network)
        if not isinstance(size, tuple) or stem is None:
            raise UsageError(
                expected="image_shape, the (channels, height, width) of the images that the network was made for",
                received="a network that does not say",
                remedy="Such as fully_convolutional(network, (3, 224, 224)): the window that each answer is about.",
            )
        image_shape = (stem.in_channels, size[0], size[1])
    if isinstance(network, ImageClassifier):  # Its own forward pass expects images of one size.
        network.eval()
        network = nn.Sequential(OrderedDict(features=network.features, classifier=network.classifier))
    return convert_network(network, image_shape, stride=stride)


def load_map_network(run: str | Path) -> tuple[FullyConvolutional, WeightsConfig]:
    """Rebuild a trained classifier as one that answers at every place, in evaluation mode.

    Args:
        run: the folder of a run, or of weights with their config, which may say a stride.
    """
    network, config = load_network(run)
    return _convolutional(network, config, config.fully_convolutional or 1), config


def _convolutional(network: nn.Module, config: WeightsConfig, stride: int) -> FullyConvolutional:
    return fully_convolutional(network, (config.in_chans, *config.image_size), stride=stride)


def convert(
    run: str | Path, images: Sequence[str | Path] = (), *, stride: int = 1, output: str | Path | None = None
) -> Converted:
    """Turn the dense layers of a trained classifier into convolutions, and compare it with the classifier.

    Args:
        run: the folder of a run, or of weights with their config.
        images: files, or folders of them, to compare on; those that the run has not seen by default.
        stride: of the first layer that sees the whole map.
        output: the folder for its weights; ``fully_convolutional`` in ``run`` by default.

    Raises:
        UsageError: where there is no trained classifier or no image.
        StriateError: where it cannot be done, with the layer and the reason.
    """
    check_conversion(run, images)
    network, config = load_network(run)
    converted = _convolutional(network, config, stride)
    given: Sequence[str | Path] = images or [RunFolder.find(run).config().data]
    sources = islice(find_sources(run, given, config), COMPARED)
    pictures = [prepare(source, config) for source in sources]
    batch = torch.cat([to_input(picture, config.preprocessing) for picture in pictures])
    with torch.inference_mode():
        ours, theirs = converted(batch).flatten(1), network(batch)
    difference = float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-6))
    if not difference <= TOLERANCE:
        raise StriateError(
            expected=f"logits within {TOLERANCE:.1%} of the classifier's own, on images of its size",
            received=f"{difference:.2%} of the largest, on {len(batch)} images",
            remedy="Nothing was written. Please report this network.",
        )
    slid = _slide(network, converted, [_enlarged(picture, config) for picture in pictures[:SLID]])
    folder = Path(output or Path(run) / "fully_convolutional")
    state = network.state_dict() | converted.network.state_dict()  # With auxiliary heads, where there are any.
    save_weights(folder, state, config.model_copy(update={"fully_convolutional": stride}))
    passes = Passes(converted.network, batch[:1])
    return Converted(
        folder=folder,
        window=converted.window,
        stride=converted.stride,
        changes=converted.changes,
        difference=difference,
        padded=tuple(padded_layers(passes.graph)),
        whole=tuple(dict.fromkeys(sweep.layer for sweep in passes.sweeps if sweep.layer)),
        slid=slid,
    )


def _enlarged(picture: Picture, config: WeightsConfig) -> Float32[Tensor, "1 C H W"]:
    """Return what the classifier would see of an image, at twice its size."""
    size = (LARGER * config.image_size[0], LARGER * config.image_size[1])
    preprocessing = config.preprocessing
    frame = middle(picture.size, config.image_size, preprocessing.crop_pct)
    return normalise(picture.cut(frame, size, preprocessing.interpolation).unsqueeze(0), preprocessing)


def _slide(network: nn.Module, converted: FullyConvolutional, images: Sequence[Tensor]) -> Slid:
    """Compare a converted network with the classifier slid over images."""
    differences, same = [], []
    for image in images:
        windows = torch.cat(list(slide(network, image, converted.window, converted.stride, AT_ONCE))).softmax(1)
        with torch.inference_mode():
            found = converted(image)[0].flatten(1).T.softmax(1)
        differences.append((found - windows).abs())
        same.append(found.argmax(1) == windows.argmax(1))
    differences_, same_ = torch.cat(differences), torch.cat(same)
    return Slid(len(same_), float(differences_.max()), float(differences_.mean()), float(same_.double().mean()))
