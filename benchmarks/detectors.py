"""Things found on real images: python benchmarks/detectors.py [bccd|pennfudan|bccd-yolov3|...].

``bccd``: blood cells of three kinds, 205 images of 480 x 640 to learn from, 87 to choose the epoch by and 72 to test on
once, with `faster_rcnn` on a pyramid. ``pennfudan``: pedestrians and their pixels, the last 50 of 170 photographs by
name to test on, with `mask_rcnn`. ``bccd-`` and ``pennfudan-`` with a recipe's name: the same images with that. All
begin with MobileNetV2 of ImageNet. Each finished seed becomes a row of ``detectors.csv``; one that was cut off is gone
on with, and ``--minutes`` cuts it off.
"""

import argparse
import os
import signal
import statistics
import threading
from pathlib import Path
from typing import Any

from record import ROOT, commit, read_rows
from running import finished, keep_figures
from striate.errors import InterruptedRunError
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
    "pennfudan": ("pennfudan", "detect", {"model": "mask_rcnn", "model_kwargs": {}, "image_size": "320x352"}),
    **{
        f"{data}-{recipe}": (data, recipe, {"image_size": size})
        for recipe in ("yolov3", "yolo", "fast-rcnn", "rcnn")
        for data, size in (("bccd", "384x512"), ("pennfudan", "320x352"))
    },
}
TESTED = 50  # The last photographs of Penn-Fudan.


def measure(way: str, asked: dict[str, Any], data: Path, seed: int) -> None:
    folder = ROOT / "runs" / "benchmarks" / f"{way}-{commit()}-{seed}"
    _, recipe, settings = WAYS[way]
    usual = read_recipe(recipe)
    options = {**usual.get("model_kwargs", {}), **settings.get("model_kwargs", {}), "padding": "same"}
    own = {"model_kwargs": options, "data": str(data), "seed": seed, "output": str(folder)}
    config = load_config(usual, COMMON, settings, asked, own)
    record = finished(config, folder, f"{way}, seed {seed}")
    summary = RunFolder(folder).read_summary()
    assert summary is not None
    figures = {f"test_{name}": value for name, value in record.metrics.items()}
    keep_figures("detectors", way, config, record, **figures, seconds=round(summary.seconds, 1))


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
    parser.add_argument("ways", nargs="*", default=["bccd", "pennfudan"], metavar="|".join(WAYS), choices=WAYS)
    parser.add_argument("--data", type=Path, default=SHARED, help="with bccd and pennfudan; default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=30, help="after which a run is cut off; default: %(default)s")
    parser.add_argument("-j", "--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    timer = threading.Timer(60 * options.minutes, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    here = commit()
    try:
        for way in options.ways:
            name = WAYS[way][0]
            data = (options.data / name).resolve()
            for seed in options.seeds:
                done = {(row["way"], row["seed"]) for row in read_rows("detectors") if row["commit"] == here}
                if (way, str(seed)) not in done:
                    asked = {"device": options.device, "workers": options.workers}
                    measure(way, asked, divided(data) if name == "pennfudan" else data, seed)
    except InterruptedRunError as cut:
        raise SystemExit(f"cut off: {cut.received}; the same command goes on") from cut
    for way in options.ways:
        rows = [row for row in read_rows("detectors") if (row["commit"], row["way"]) == (here, way)]
        for name in ("ap50", "ap", *(["mask_ap"] if rows[0]["test_mask_ap"] else [])):
            values = [float(row[f"test_{name}"]) for row in rows]
            print(f"{way}: {name} {statistics.mean(values):.2%} ({min(values):.2%} to {max(values):.2%}), ", end="")
        seconds = statistics.mean(float(row["seconds"]) for row in rows)
        print(f"{seconds:.0f} s, {len(rows)} seeds, commit {here}")
