"""Suppression and RoI align beside plain loops: python benchmarks/detect.py.

The loop of suppression keeps the best box, computes its row of IoUs with all that are left, and drops what is above
the threshold. Three kinds of boxes, since it takes as many rows as boxes stay: ``uniform`` ones of 10 to 100 pixels
anywhere in 1000 x 1000; ``clusters`` around 60 things, as a detector says them; ``anchors`` of three sizes and shapes,
moved a little, as a network proposes them. The loop of RoI align takes one region at a time, as a grid that is sampled.
Times are medians of rounds in which one follows the other; memory is what numpy or torch allocate meanwhile. Each kind
becomes a row of ``detect.csv``.
"""

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from record import append_row
from striate.blocks.regions import roi_align
from striate.boxes import cxcywh_to_xyxy, iou
from striate.costing.verify import watched
from striate.suppression import suppress

SIDE = 1000.0
STRIDE, PARTS, SAMPLES = 16, 7, 2


def uniform(count: int, generator: torch.Generator) -> Tensor:
    middles, sides = (torch.rand(count, 2, generator=generator) for _ in range(2))
    return torch.cat([SIDE * middles, 10 + 90 * sides], 1)


def clusters(count: int, generator: torch.Generator) -> Tensor:
    middles = SIDE * torch.rand(60, 2, generator=generator)
    sides = torch.exp(2.5 + 3 * torch.rand(60, 2, generator=generator))
    thing = torch.randint(0, 60, (count,), generator=generator)
    moved, grown = (torch.randn(count, 2, generator=generator) for _ in range(2))
    return torch.cat([middles[thing] + 0.2 * moved * sides[thing], sides[thing] * torch.exp(0.25 * grown)], 1)


def anchors(count: int, generator: torch.Generator) -> Tensor:
    middles = 16 * torch.randint(0, int(SIDE) // 16, (count, 2), generator=generator).float()
    size = torch.tensor([128.0, 256, 512])[torch.randint(0, 3, (count,), generator=generator), None]
    root = torch.tensor([0.5, 1, 2])[torch.randint(0, 3, (count,), generator=generator)].sqrt()
    sides = size * torch.stack([1 / root, root], 1)
    moved, grown = (torch.randn(count, 2, generator=generator) for _ in range(2))
    return torch.cat([middles + 0.05 * moved * size, sides * torch.exp(0.1 * grown)], 1)


KINDS = {"uniform": uniform, "clusters": clusters, "anchors": anchors}


def suppressed_by_loop(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    left, kept = scores.argsort(descending=True, stable=True), []
    while len(left):
        kept.append(left[:1])
        rest = left[1:]
        left = rest[iou(boxes[left[0]], boxes[rest]) <= threshold]
    return torch.cat(kept)


def aligned_by_loop(maps: Tensor, boxes: Tensor, images: Tensor) -> Tensor:
    """Return RoI align for regions well inside the image."""
    height, width = maps.shape[2:]
    taken = (torch.arange(PARTS * SAMPLES) + 0.5) / (PARTS * SAMPLES)
    found = []
    for box, image in zip(boxes / STRIDE, images, strict=True):
        x, y = (box[axis] + taken * (box[axis + 2] - box[axis]) for axis in (0, 1))
        rows, columns = torch.meshgrid(2 * y / height - 1, 2 * x / width - 1, indexing="ij")
        grid = torch.stack([columns, rows], -1)[None]
        found.append(F.avg_pool2d(F.grid_sample(maps[image][None], grid, align_corners=False), SAMPLES))
    return torch.cat(found)


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def timed(ours: Callable[[], object], loop: Callable[[], object], rounds: int) -> dict[str, float]:
    """Return the milliseconds of both, and how many times faster ours is, each the median."""
    times = [(seconds(ours), seconds(loop)) for _ in range(rounds + 1)][1:]
    return {
        "milliseconds": round(1e3 * statistics.median(one for one, _ in times), 2),
        "loop_milliseconds": round(1e3 * statistics.median(other for _, other in times), 1),
        "times_faster": round(statistics.median(other / one for one, other in times), 1),
    }


def compare_suppression(kind: str, count: int, threshold: float, rounds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = cxcywh_to_xyxy(KINDS[kind](count, generator)).clamp(0, SIDE)
    scores = torch.rand(count, generator=generator)
    kept = suppress(boxes, scores, threshold)
    assert kept.equal(suppressed_by_loop(boxes, scores, threshold))
    figures = timed(
        lambda: suppress(boxes, scores, threshold), lambda: suppressed_by_loop(boxes, scores, threshold), rounds
    )
    tracemalloc.start()
    suppress(boxes, scores, threshold)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    append_row(
        "detect",
        what="suppression",
        kind=kind,
        threshold=threshold,
        count=count,
        kept=len(kept),
        rounds=rounds,
        **figures,
        peak_mb=round(most / 1e6, 2),
    )
    print(
        f"suppression of {count} {kind} boxes at {threshold}, of which {len(kept)} stay: {figures['milliseconds']} ms, "
        f"{figures['times_faster']} times faster than the loop, {most / 1e6:.1f} MB",
        flush=True,
    )


def compare_align(regions: int, channels: int, rounds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, channels, 50, 50, generator=generator).to(memory_format=torch.channels_last)
    corners = 20 + 600 * torch.rand(regions, 2, generator=generator)
    boxes = torch.cat([corners, corners + 16 + 130 * torch.rand(regions, 2, generator=generator)], 1)
    images = torch.arange(regions) % 2

    def ours() -> Tensor:
        return roi_align(maps, boxes, images, (PARTS, PARTS), stride=STRIDE, samples=SAMPLES)

    torch.testing.assert_close(ours(), aligned_by_loop(maps, boxes, images), rtol=1e-3, atol=1e-4)
    figures = timed(ours, lambda: aligned_by_loop(maps, boxes, images), rounds)
    with watched([]) as peak:
        ours()
    append_row(
        "detect",
        what="RoI align",
        kind=f"{channels} maps",
        count=regions,
        rounds=rounds,
        **figures,
        peak_mb=round(peak.size / 1e6, 2),
    )
    print(
        f"RoI align of {regions} regions on {channels} maps: {figures['milliseconds']} ms, {figures['times_faster']} "
        f"times faster than the loop, {peak.size / 1e6:.1f} MB with its result",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Suppression and RoI align beside plain loops.")
    parser.add_argument("--boxes", type=int, default=10_000)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.5, 0.7])
    parser.add_argument("--regions", type=int, default=512)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for kind in KINDS:
        for threshold in options.thresholds:
            compare_suppression(kind, options.boxes, threshold, options.rounds)
    compare_align(options.regions, options.channels, options.rounds)
