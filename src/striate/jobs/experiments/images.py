"""How many images a dense network and a convolutional one need to learn from.

A dense network has a weight for each pixel and each of its numbers, and has to see a pattern in every place where it is
to know it. A convolution has few weights, the same in all places, so that whatever it learns in one place it knows in
all, and a mean over its last maps forgets where that was. Where things always lie in the middle there is nothing to
gain by that; where they lie anywhere, few images show each place of each thing.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from striate.blocks.initialisation import initialise
from striate.data.source import finish
from striate.jobs.experiments.fitting import accuracy, fit, read_small
from striate.jobs.experiments.networks import convolutions, dense_on_means, parameter_count
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying
from striate.zoo import create_model

THING, SIDE = 8, 16  # Pixels of a thing, and of the images that it lies in.
COUNTS = (50, 100, 200, 400, 800)  # Images to learn from, before all of them.
MOST = 2000
BATCH, STEPS, RATE = 25, 300, 2e-3
WAYS = ("dense", "convolutions")


def small_network(way: str, classes: int) -> nn.Module:
    """Build one of `WAYS`: the zoo's perceptron of 300 hidden numbers, or three convolutions under a mean."""
    if way == "dense":
        return create_model("mlp", num_classes=classes, image_size=(SIDE, SIDE))
    network = nn.Sequential(convolutions((16, 32, 32)) | dense_on_means(32, classes))
    initialise(network, "he")
    return network


def put(things: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return images as dark as the darkest pixel but for a thing each, whose upper left pixel is where these say."""
    images = things.new_full((len(things), 1, SIDE, SIDE), float(things.min()))
    for image, thing, row, column in zip(images, things, rows.tolist(), columns.tolist(), strict=True):
        image[:, row : row + THING, column : column + THING] = thing
    return images


def compare_images(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Train each network on more and more images, whose things lie in the middle or anywhere; the last is the outcome.

    Args:
        data: grey images in memory.
        seed: of weights, of places, of which images are few, and of what is kept to test on.
    """
    read = read_small(data, THING, seed, MOST)
    draws = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(read.images), generator=draws)
    counts = [*(count for count in COUNTS if count < len(order)), len(order)]
    rows: list[tuple[Cell, ...]] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    room = SIDE - THING
    done, total = 0, 2 * len(WAYS) * len(counts)
    for where in ("in the middle", "anywhere"):
        seen, unseen = (
            put(each, *torch.randint(room + 1, (2, len(each)), generator=draws))
            if where == "anywhere"
            else put(each, *torch.full((2, len(each)), room // 2))
            for each in (read.images, read.unseen)
        )
        placed = replace(read, images=seen, unseen=unseen)
        for way in WAYS:
            name = f"{way}, things {where}"
            curves[name] = []
            for count in counts:
                few = replace(placed, images=seen[order[:count]], labels=read.labels[order[:count]])
                torch.manual_seed(seed)
                network = small_network(way, read.classes)
                optimizer = torch.optim.Adam(network.parameters(), RATE)
                finish(fit(network, few, optimizer, -(-STEPS * BATCH // count), BATCH, seed))
                curves[name].append((float(count), accuracy(network, unseen, read.truth)))
                done += 1
                yield Trying(done, total)
            parameters = parameter_count(network)
            rows.append((name, parameters, *(f"{share:.1%}" for _, share in curves[name])))
    yield Outcome(
        "How many images does a network need?",
        f"A dense network and three convolutions under a mean, on images of {read.name}: things of {THING} x {THING} "
        f"in the middle of {SIDE} x {SIDE} pixels, or somewhere in them, each at a place of its own. {STEPS} steps "
        f"with Adam and batches of {BATCH}, to the end of an epoch, however many images there are; seed {seed}; "
        f"judged by {len(unseen):,} others, placed likewise.",
        ("network", "parameters", *(f"{count:,} images" for count in counts)),
        tuple(rows),
        (Chart("Accuracy by the number of images", "images to learn from", "accuracy", curves),),
    )
