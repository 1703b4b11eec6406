"""Things found on real images: python benchmarks/detectors.py [bccd|pennfudan|bccd-yolov3|...] [--compare bccd].

``bccd``: blood cells of three kinds, 205 images of 480 x 640 to learn from, 87 to choose the epoch by and 72 to test on
once, with `faster_rcnn` on a pyramid. ``pennfudan``: pedestrians and their pixels, the last 50 of 170 photographs by
name to test on, with `mask_rcnn`. ``bccd-`` and ``pennfudan-`` with a network's name: the same images, as
``striate compare detectors`` has that network learn. All begin with MobileNetV2 of ImageNet. Each finished seed becomes
a row of ``detectors.csv``; one that was cut off is gone on with, and ``--minutes`` cuts it off. ``--compare`` sets the
five that were trained so beside each other, in ``compared_detectors.csv``.
"""

import argparse
import os
import signal
import statistics
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from record import ROOT, append_row, commit, read_rows
from running import finished, keep_figures
from striate.errors import InterruptedRunError
from striate.jobs.comparing_detectors import RECIPES, ComparedDetectors, PlannedRun, compare_trained, planned_runs
from striate.jobs.stages import Stages
from striate.training.config import load_config, read_recipe
from striate.training.folder import RunFolder

SHARED = (ROOT.parent / "shared" / "data").resolve()
COMMON: dict[str, Any] = {
    "pretrained": str(SHARED / "imagenet-pretrained" / "mobilenet_v2_1.0_224_tf_fp16.safetensors"),
    "mean": 0.5,
    "std": 0.5,
}
# Data, recipe and what differs from it.
WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bccd": ("bccd", "detect", {"model_kwargs": {"pyramid": True}, "image_size": "360x480"}),
    "pennfudan": (
        "pennfudan",
        "detect",
        {"model": "mask_rcnn", "model_kwargs": {"pyramid": True}, "image_size": "320x352"},
    ),
}
# Images that all networks are compared on, their size, and the cells that `yolo` has there, of 64 pixels.
COMPARED = {"bccd": ("384x512", [6, 8]), "pennfudan": ("320x352", [5, 6])}
LEARNERS = {f"{data}-{model}": (data, model) for data in COMPARED for model in RECIPES}
TESTED = 50  # The last photographs of Penn-Fudan.


def planned(way: str, asked: dict[str, Any], images: Path, seed: int) -> PlannedRun:
    """Return what one of the trainings is to do, and where."""
    folder = ROOT / "runs" / "benchmarks" / f"{way}-{commit()}-{seed}"
    if way in LEARNERS:
        name, model = LEARNERS[way]
        return compared(name, asked, images, seed, [model])[0]
    _, recipe, settings = WAYS[way]
    usual = read_recipe(recipe)
    own = {"model_kwargs": {"padding": "same"}, "data": str(images), "seed": seed, "output": str(folder)}
    config = load_config(usual, COMMON, settings, asked, own)
    return PlannedRun(config.model, config, folder)


def compared(name: str, asked: dict[str, Any], images: Path, seed: int, only: Sequence[str] = ()) -> list[PlannedRun]:
    """Return what the networks that are compared on the same images are to do."""
    size, cells = COMPARED[name]
    options = {"padding": "same", "pyramid": True, "grid": cells}
    settings = {**COMMON, **asked, "image_size": size, "model_kwargs": options, "seed": seed}
    return planned_runs(str(images), only, settings, ROOT / "runs" / "benchmarks" / f"{name}-{commit()}-{seed}")


def measure(way: str, run: PlannedRun) -> None:
    record = finished(run.config, run.folder, f"{way}, seed {run.config.seed}")
    folder = RunFolder(run.folder)
    summary, stages = folder.read_summary(), Stages.read(folder.stages)
    assert summary is not None
    figures = {f"test_{name}": value for name, value in record.metrics.items()}
    seconds = summary.seconds + (stages.seconds if stages else 0)
    keep_figures("detectors", way, run.config, record, **figures, seconds=round(seconds, 1))


def compare(name: str, runs: Sequence[PlannedRun]) -> None:
    *_, found = compare_trained(runs)
    assert isinstance(found, ComparedDetectors)
    for each in found.worth:
        row = {**asdict(each), **{f"{part}_seconds": round(value, 4) for part, value in each.seconds._asdict().items()}}
        del row["seconds"]
        append_row("compared_detectors", data=name, seed=runs[0].config.seed, images=found.tested, **row)
        print(f"{name}, {each.model}: AP50 {each.ap50:.2%}, {each.seconds.total:.2f} s an image {each.seconds}")


def divided(photographs: Path) -> Path:
    """Return Penn-Fudan in two parts, by links: what is to learn from, and the last 50 by name to test on."""
    root = ROOT / "runs" / "benchmarks" / "pennfudan"
    names = sorted(path.stem for path in (photographs / "JPEGImages").iterdir())
    for place, name in enumerate(names):
        part = root / ("test" if place >= len(names) - TESTED else "train")
        for kind, suffix in (("JPEGImages", ".jpg"), ("PedMasks", "_mask.png")):
            (part / kind).mkdir(parents=True, exist_ok=True)
            link = part / kind / f"{name}{suffix}"
            if not link.is_symlink():
                link.symlink_to(photographs / kind / f"{name}{suffix}")
    return root


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Average precision on BCCD and Penn-Fudan.")
    parser.add_argument("ways", nargs="*", default="bccd", metavar="WAY", choices=[*WAYS, *LEARNERS])
    parser.add_argument("--compare", choices=COMPARED, help="set what was trained on these beside each other")
    parser.add_argument("--data", type=Path, default=SHARED, help="with bccd and pennfudan; default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=30, help="after which a run is cut off; default: %(default)s")
    parser.add_argument("-j", "--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    ways = [options.ways] if isinstance(options.ways, str) else options.ways
    timer = threading.Timer(60 * options.minutes, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    here = commit()
    asked = {"device": options.device, "workers": options.workers}

    def images_of(name: str) -> Path:
        place = (options.data / name).resolve()
        return divided(place) if name == "pennfudan" else place

    try:
        for way in [] if options.compare else ways:
            name = way.partition("-")[0]
            for seed in options.seeds:
                done = {(row["way"], row["seed"]) for row in read_rows("detectors") if row["commit"] == here}
                if (way, str(seed)) not in done:
                    measure(way, planned(way, asked, images_of(name), seed))
    except InterruptedRunError as cut:
        raise SystemExit(f"cut off: {cut.received}; the same command goes on") from cut
    if options.compare:
        for seed in options.seeds:
            compare(options.compare, compared(options.compare, asked, images_of(options.compare), seed))
        raise SystemExit
    for way in ways:
        rows = [row for row in read_rows("detectors") if (row["commit"], row["way"]) == (here, way)]
        for name in ("ap50", "ap", *(["mask_ap"] if rows[0]["test_mask_ap"] else [])):
            values = [float(row[f"test_{name}"]) for row in rows]
            print(f"{way}: {name} {statistics.mean(values):.2%} ({min(values):.2%} to {max(values):.2%}), ", end="")
        seconds = statistics.mean(float(row["seconds"]) for row in rows)
        print(f"{seconds:.0f} s, {len(rows)} seeds, commit {here}")
