"""How a convolution becomes one product of matrices, on a few pixels, and what that takes in a real network."""

from collections.abc import Iterator
from math import prod

import torch

from striate.costing.layers import layer_costs
from striate.explanation.columns import columns, convolve
from striate.jobs.experiments.fitting import read_small
from striate.jobs.experiments.outcome import Cell, Chart, Outcome, Trying
from striate.shapes import Window
from striate.zoo import create_model

SIDE, CUT = 8, 4  # Pixels of an image, and of its middle that is shown.
KERNEL = ((1.0, 2.0, 1.0), (0.0, 0.0, 0.0), (-1.0, -2.0, -1.0))  # Sobel's: where it becomes darker downwards.
NETWORK = "vgg16"


def compare_im2col(data: str = "digits", seed: int = 0) -> Iterator[Trying | Outcome]:
    """Write out the columns of a few pixels, and count those of a network's layers; the last record is the outcome.

    Args:
        data: grey images in memory.
        seed: of what is left out, where the set has no parts.
    """
    given = read_small(data, SIDE, seed, 1)
    first = (SIDE - CUT) // 2
    levels = given.images[:1, :, first : first + CUT, first : first + CUT].mul(10).round()
    window, kernel = Window(3), torch.tensor(KERNEL)
    seen = columns(levels, window, window)[0]
    made = convolve(levels, kernel[None, None], None, window, window).flatten()
    rows: list[tuple[Cell, ...]] = [
        (f"row {place // 3}, column {place % 3}", f"{kernel.flatten()[place]:g}", *(f"{value:g}" for value in row))
        for place, row in enumerate(seen.tolist())
    ]
    rows.append(("kernel times column", "", *(f"{value:g}" for value in made.tolist())))
    with torch.device("meta"):
        network = create_model(NETWORK)
    curves: dict[str, list[tuple[float, float]]] = {"maps that come in": [], "columns": [], "maps that come out": []}
    before: tuple[int, ...] = (3, 224, 224)
    for layer in layer_costs(network, before):
        if layer.column_bytes:
            sizes = 4 * prod(before), layer.column_bytes, layer.activation_bytes
            for values, size in zip(curves.values(), sizes, strict=True):
                values.append((float(len(values) + 1), 1e-6 * size))
        before = layer.output_shape
    yield Trying(1, 1)
    yield Outcome(
        "How does a convolution become a product of matrices?",
        f"A kernel of 3 x 3 on the middle 4 x 4 pixels of an image of {given.name} (normalised, in tenths): a column "
        "for each place of the kernel on the image, and in it the nine pixels that it sees there.",
        ("pixel under the kernel", "kernel", *(f"place {row}, {column}" for row in range(2) for column in range(2))),
        tuple(rows),
        (Chart(f"Memory of {NETWORK}'s convolutions, for one image", "convolution", "MB", curves, log=True),),
    )
