"""What a mask of a large image takes: python benchmarks/large.py [--side 8000] [--memory 550MB].

An image of photographs, mirrored and side by side, is written as a tiled TIFF; `striate predict` makes its mask with
FCN-8s on a MobileNetV2 with weights of ImageNet, whose scores nobody trained, in a process of its own. Memory is what
that process had resident at most, all of it: Python, torch, the network, the file. ``read`` and ``computed`` say what
parts cost: pixels of the image that are read, and multiply-adds, as multiples of what the whole image at once takes.
Some squares of the mask, at corners and in the middle, are compared with the network run by torch alone on so much
around them that nothing further away counts. Each run becomes a row of ``large.csv``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from record import ROOT, append_row, resident
from striate.costing.compute import count, multiply_adds
from striate.costing.devices.cpu import cpu
from striate.data.preprocessing import Preprocessing
from striate.inference.folding import fold_norms
from striate.inference.tiles import Tiled
from striate.inference.tiles.steps import Region, whole
from striate.inference.tiles.tiled import _regions
from striate.shapes import Span
from striate.units import format_bytes, parse_bytes
from striate.weights import WeightsConfig, save_weights
from striate.zoo import create_model, load_network

SHARED = ROOT.parent / "shared" / "data"
MODEL, OPTIONS = "fcn8s", dict[str, Any](backbone="mobilenet_v2", padding="same")
CLASSES = tuple(f"class {number}" for number in range(11))
TILE, BLOCK = 256, 1024  # Pixels of a side: of the file's tiles, and of the place that a photograph fills.
SQUARE, AROUND = 256, 512  # Of what is compared; the network sees 491 pixels, and a few more where scores are enlarged.
CLOSE = 1e-5  # Of the largest logit: where two classes are as near, rounding decides.


def scene(photos: list[NDArray[np.uint8]], rows: Span, columns: Span) -> NDArray[np.uint8]:
    """Return a part of the image, which lies in one block."""
    row, column = rows.start // BLOCK, columns.start // BLOCK
    photo = photos[(5 * row + column) % len(photos)]
    return photo[np.ix_(*(mirrored(span, side) for span, side in zip((rows, columns), photo.shape[:2], strict=True)))]


def mirrored(span: Span, side: int) -> NDArray[np.int64]:
    places = np.arange(span.start, span.end) % (2 * side)
    return np.minimum(places, 2 * side - 1 - places)


def write_image(path: Path, data: Path, side: int) -> list[NDArray[np.uint8]]:
    """Write the image tile by tile; return the photographs that it is made of."""
    photos = [np.array(Image.open(each).convert("RGB")) for each in sorted((data / "photos").glob("*.[jp][pn]g"))]
    starts = product(range(0, side, TILE), repeat=2)
    tiles = (scene(photos, *(Span(start, min(start + TILE, side)) for start in corner)) for corner in starts)
    tifffile.imwrite(
        path,
        tiles,
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="zlib",
        maxworkers=1,
    )
    return photos


def write_network(folder: Path, data: Path) -> None:
    """Write the network, with scores that are about as often highest for each class; of finer maps, too."""
    torch.manual_seed(0)
    (weights,) = (data / "imagenet-pretrained").glob("mobilenet_v2*.safetensors")
    network = create_model(MODEL, num_classes=len(CLASSES), pretrained=weights, **OPTIONS)
    for name, layer in network.named_modules():
        if name.startswith("score.") and isinstance(layer, nn.Conv2d):
            random = torch.randn(layer.weight.shape)
            layer.weight = nn.Parameter(random - random.mean(1, keepdim=True))
    preprocessing = Preprocessing(image_size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
    config = WeightsConfig(
        model=MODEL, model_options=OPTIONS, task="segment", classes=CLASSES, preprocessing=preprocessing
    )
    save_weights(folder, network.state_dict(), config)


def predict(arguments: list[str]) -> None:
    """Run the command in this process, and say what it had in memory at most."""
    from striate.__main__ import main

    sys.argv = ["striate", "predict", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    print(json.dumps({"resident": resident()[1]}))


def shares(folder: Path, side: int, memory: int) -> dict[str, float]:
    """Return how much more is read and computed in parts than at once."""
    network = network_alone(folder)
    tiled = Tiled(network, torch.empty(1, 3, side, side, device="meta"), cpu(), memory)
    passes, (sweep,) = tiled.passes, tiled.passes.sweeps
    grid = tiled.grids[sweep]
    shape = passes.shape(sweep.map)

    def work(regions: list[Region]) -> tuple[float, float]:
        read, computed = 0.0, 0.0
        for region in regions:
            (_, image), *steps = passes.parts_of(sweep, region)
            read += prod(image.size)
            for index, out in steps:
                operator = passes.graph.operators[index]
                places = prod(passes.shape(operator.outputs[0])[-2:])
                computed += count(multiply_adds(operator, passes.graph)) * prod(out.size) / places
        return read, computed

    divided, at_once = work(_regions(shape, grid.rows, grid.columns)), work([whole(shape)])
    return {name: round(of / by, 3) for name, of, by in zip(("read", "computed"), divided, at_once, strict=True)}


def network_alone(folder: Path) -> nn.Module:
    network, _ = load_network(folder)
    fold_norms(network)
    return network


def compare(folder: Path, mask: Path, photos: list[NDArray[np.uint8]], side: int) -> tuple[int, int]:
    """Return how many pixels were compared, and how many of them are of another class.

    Raises:
        SystemExit: where one is whose two best classes are not as good as equal.
    """
    network, _ = load_network(folder)
    made = tifffile.imread(mask)
    compared, different = 0, 0
    starts = (0, (side // 2 + 77) // 32 * 32, side - SQUARE)
    for top, left in product(starts, repeat=2):
        rows, columns = (_around(start, side) for start in (top, left))
        logits = run_alone(network, photos, rows, columns)
        logits = logits[:, top - rows.start :, left - columns.start :][:, :SQUARE, :SQUARE]
        first, second = logits.topk(2, 0).values
        differs = torch.from_numpy(made[top : top + SQUARE, left : left + SQUARE] != logits.argmax(0).numpy())
        if (differs & (first - second > CLOSE * logits.abs().max())).any():
            sys.exit(f"the mask is another at row {top}, column {left}")
        compared += differs.numel()
        different += int(differs.sum())
    return compared, different


def _around(start: int, side: int) -> Span:
    """Return a square and what is around it; maps begin where those of the whole image have a place."""
    return Span(max(start - AROUND, 0) // 32 * 32, min(start + SQUARE + AROUND, side))


def run_alone(network: nn.Module, photos: list[NDArray[np.uint8]], rows: Span, columns: Span) -> Tensor:
    pixels = np.empty((rows.size, columns.size, 3), np.uint8)
    for row, column in product(blocks(rows), blocks(columns)):
        at = pixels[row.start - rows.start :, column.start - columns.start :]
        at[: row.size, : column.size] = scene(photos, row, column)
    image = (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        logits: Tensor = network(image.unsqueeze(0))[0]
    return logits


def blocks(span: Span) -> Iterator[Span]:
    for start in range(span.start // BLOCK * BLOCK, span.end, BLOCK):
        yield Span(max(start, span.start), min(start + BLOCK, span.end))


def measure(data: Path, side: int, memory: str, scratch: Path) -> None:
    photos = write_image(scratch / "image.tif", data, side)
    write_network(scratch / "network", data)
    words = [str(scratch / "network"), str(scratch / "image.tif"), "--memory", memory, "--json"]
    command = [sys.executable, __file__, "--one", json.dumps([*words, "-o", str(scratch / "masks")])]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    *document, last = done.stdout.splitlines()
    (found,) = json.loads("\n".join(document))["predictions"]
    figures: dict[str, Any] = {
        "model": f"{MODEL} on {OPTIONS['backbone']}",
        "side": side,
        "memory": memory,
        "parts": found["parts"],
        "predicted_peak": found["predicted_peak_bytes"],
        "resident": json.loads(last)["resident"],
        "seconds": round(seconds, 1),
        **shares(scratch / "network", side, parse_bytes(memory)),
    }
    figures["compared"], figures["different"] = compare(scratch / "network", Path(found["mask"]), photos, side)
    append_row("large", **figures)
    print(
        f"{side:,} x {side:,} pixels in {figures['parts']} parts, {seconds:.0f} s; predicted "
        f"{format_bytes(figures['predicted_peak'])}, resident at most {format_bytes(figures['resident'])}"
    )
    print(f"{figures['read']:.2f} times the pixels read, {figures['computed']:.2f} times the multiply-adds")
    print(f"{figures['different']} of {figures['compared']:,} pixels of another class, as good as equal")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The mask of a large image.")
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--side", type=int, default=8000)
    parser.add_argument("--memory", default="550MB")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        predict(json.loads(options.one))
    else:
        with tempfile.TemporaryDirectory() as name:
            measure(options.data, options.side, options.memory, Path(name))
