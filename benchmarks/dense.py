"""How much faster one pass without dense layers is than the classifier slid over an image: python benchmarks/dense.py.

At the classifier's own stride, in batches of windows, the fastest of a few sizes; the median of a few rounds, the two
in turn. Beside it what the multiply-adds allow. Each image size becomes a row of ``dense.csv``.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from record import append_row
from striate.costing.layers import layer_costs
from striate.inference.convolutional import slide
from striate.jobs.convert import fully_convolutional
from striate.zoo import create_model, find_model

BATCHES = (4, 16)


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def compare(model: str, side: int, rounds: int) -> None:
    entry = find_model(model)
    torch.manual_seed(0)
    network = create_model(model).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    converted = fully_convolutional(network, (entry.in_chans, *entry.image_size))
    converted.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randn(1, entry.in_chans, side, side).to(memory_format=torch.channels_last)
    rows, columns = converted.places((side, side))
    slid_macs = rows * columns * sum(layer.macs for layer in layer_costs(network, (entry.in_chans, *entry.image_size)))
    macs = sum(layer.macs for layer in layer_costs(converted, (entry.in_chans, side, side)))

    def once() -> None:
        with torch.inference_mode():
            converted(image)

    def slid(batch: int) -> None:
        for _ in slide(network, image, converted.window, converted.stride, batch):
            pass

    once()
    found: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for _ in range(rounds):
        one = statistics.median(seconds(once) for _ in range(3))
        for batch, ratios in found.items():
            ratios.append(seconds(partial(slid, batch)) / one)
    times, batch = min((statistics.median(ratios), batch) for batch, ratios in found.items())
    allowed = slid_macs / macs
    append_row(
        "dense",
        model=model,
        side=side,
        windows=rows * columns,
        batch=batch,
        rounds=rounds,
        times_faster=round(times, 2),
        allowed_by_macs=round(allowed, 2),
        share=round(times / allowed, 3),
    )
    print(
        f"{model} at {side}: {times:.1f} times as fast as {rows * columns} windows in batches of {batch}; "
        f"multiply-adds allow {allowed:.1f}, of which that is {times / allowed:.0%}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One pass against the classifier slid over an image.")
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for side in options.sides:
        compare(options.model, side, options.rounds)
