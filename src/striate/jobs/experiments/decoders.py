"""What is hard about a class for each pixel: where things end.

Pooling and strides tell a network what is there by forgetting where: a place of a map of stride 32 stands for 32 x 32
pixels. Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", 2015, section 4.2: scores
of finer maps, which see less and know better where it is, are added to those of the coarse one. So that nothing but
where is asked, there are two classes here, things and the ground; what it is worth is seen near the borders of things
first.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from striate.blocks.classifier import ImageClassifier, pooled_head
from striate.blocks.contract import FeatureInfo
from striate.blocks.convolution import convolution
from striate.blocks.initialisation import initialise
from striate.costing.layers import layer_costs, total_parameters
from striate.data.boxed import BoxedTensors
from striate.data.drawn import load_shapes
from striate.data.outlines import draw
from striate.data.preprocessing import Preprocessing
from striate.data.statistics import mean_and_std
from striate.data.transforms import normalise
from striate.errors import UsageError
from striate.jobs.experiments.fitting import SmallSet, fit, logits
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying
from striate.segmentation.fcn import build_fcn
from striate.segmentation.losses import pixel_cross_entropy
from striate.segmentation.scores import boundary_band, overlaps, scores_of
from striate.segmentation.segmenter import Segmenter

WIDTHS = (8, 16, 32, 64, 64)  # Maps of each stage of the backbone, behind which they are halved.
BATCH, EPOCHS, RATE = 8, 8, 3e-3
NEAR = 2  # Pixels from a border.
CLASSES = 2  # The ground, and things.
WAYS = {"fcn32s": (32,), "fcn16s": (32, 16), "fcn8s": (32, 16, 8)}


def small_segmenter(strides: tuple[int, ...], classes: int) -> Segmenter:
    """Build a network that says a class for each pixel from maps of some strides of a small backbone."""
    layers, channels = OrderedDict[str, nn.Module](), 3
    for place, width in enumerate(WIDTHS, 1):
        layers[f"conv{place}"], layers[f"pool{place}"] = convolution(channels, width, 3), nn.MaxPool2d(2)
        channels = width
    maps = tuple(FeatureInfo(f"pool{place}", width, 2**place) for place, width in enumerate(WIDTHS, 1))
    backbone = ImageClassifier(nn.Sequential(layers), maps, pooled_head(channels, classes, 0.0))
    initialise(backbone, "he")
    return build_fcn(strides, backbone, num_classes=classes)


def pixel_classes(images: BoxedTensors) -> Int64[Tensor, "N H W"]:
    """Return 1 for each pixel of a thing, and 0 for those of the ground."""
    found = torch.zeros(len(images), *images.image_size, dtype=torch.int64)
    for known, annotation in zip(found, images.annotations, strict=True):
        outlines = [thing.outline for thing in annotation.instances if thing.outline is not None]
        for mask in draw(outlines, images.image_size):
            known[torch.from_numpy(mask) > 0] = 1
    return found


def _read(data: str, seed: int) -> SmallSet:
    if data != "shapes":
        raise UsageError(expected="shapes, which has a class for each pixel", received=data, remedy="Leave --data out.")
    drawn = load_shapes()
    train, test = drawn["train"], drawn["test"]
    mean, std = mean_and_std(train, seed)
    preprocessing = Preprocessing(image_size=train.image_size, mean=mean, std=std)
    images, unseen = (normalise(part.images, preprocessing) for part in (train, test))
    return SmallSet(data, images, pixel_classes(train), unseen, pixel_classes(test), CLASSES)


def compare_decoders(data: str = "shapes", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train each network on the same images, and judge it everywhere and near borders; the last record is the outcome.

    Args:
        data: ``shapes``.
        seed: of weights, and of the images' order.

    Raises:
        UsageError: for other data.
    """
    given = _read(data, seed)
    shape = tuple(given.images.shape[1:])
    known = torch.ones_like(given.truth, dtype=torch.bool)
    places = (known, boundary_band(given.truth, known, NEAR))
    rows: list[tuple[Cell, ...]] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    for place, (name, strides) in enumerate(WAYS.items()):
        torch.manual_seed(seed)
        network = small_segmenter(strides, given.classes)
        layers = layer_costs(network, shape)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        part = place, len(WAYS)
        curves[name] = yield from fit(network, given, optimizer, EPOCHS, BATCH, seed, part, pixel_cross_entropy)
        answer = logits(network, given.unseen).argmax(1)
        everywhere, near = (scores_of(overlaps(answer, given.truth, given.classes, where).sum(0)) for where in places)
        rows.append(
            (
                name,
                " + ".join(str(stride) for stride in strides),
                total_parameters(layers),
                sum(layer.macs for layer in layers),
                *(f"{share or 0:.1%}" for share in (everywhere.accuracy, everywhere.mean_iou, near.mean_iou)),
            )
        )
    yield Outcome(
        "What is hard about a class for each pixel?",
        f"Five stages of a 3x3 convolution with batch norm and max pooling, {', '.join(map(str, WIDTHS))} maps, and "
        f"scores of thing and ground from maps of the strides named, enlarged to the image by layers that learn; fresh "
        f"weights, {len(given.images):,} images of {given.name}, {shape[1]} x {shape[2]}; {EPOCHS} epochs with Adam, "
        f"batches of {BATCH}, seed {seed}; judged by {len(given.unseen):,} others. IoU: pixels that are of a class and "
        "said to be, as a share of those that are either, the mean over both classes. The last column counts pixels at "
        f"most {NEAR} away from where a thing ends, {float(places[1].double().mean()):.0%} of all.",
        (
            "network",
            "strides of maps",
            "parameters",
            "multiply-adds",
            "pixels right",
            "mean IoU",
            "mean IoU near borders",
        ),
        tuple(rows),
        (Chart("Loss of each step", "step", "loss", curves, log=True),),
    )
