"""Classes of pixels on roads: python benchmarks/camvid.py [fcn32s|fcn16s|fcn8s|best].

CamVid, 367 frames to learn from, 101 to choose the epoch by and 233 to test on once, at 240 x 320; 11 classes, what is
void is left out. ``fcn32s``, ``fcn16s`` and ``fcn8s`` differ in nothing but the maps whose scores are added, and say
what restoring detail brings, most of all near borders; ``best`` is the last with more epochs. All begin with
MobileNetV2 of ImageNet. Each finished seed becomes a row of ``camvid.csv``; one that was cut off is gone on with.
"""

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

from record import ROOT, commit, read_rows
from running import finished, keep_figures
from striate.training.config import load_config, read_recipe

SHARED = (ROOT.parent / "shared" / "data").resolve()
CLASSES = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
    "void",
]
COMMON: dict[str, Any] = read_recipe("segment") | {
    "ignore": "void",
    "image_size": "240x320",
    "pretrained": str(SHARED / "imagenet-pretrained" / "mobilenet_v2_1.0_224_tf_fp16.safetensors"),
    "model_kwargs": {"padding": "same"},
    "mean": 0.5,
    "std": 0.5,
}
WAYS: dict[str, dict[str, Any]] = {
    **{model: {"model": model, "epochs": 8} for model in ("fcn32s", "fcn16s", "fcn8s")},
    "best": {"model": "fcn8s", "epochs": 24},
}
FIGURES = ("mean_iou", "trimap_iou", "pixel_accuracy")


def measure(way: str, asked: dict[str, Any], data: Path, seed: int) -> None:
    runs = ROOT / "runs" / "benchmarks"
    folder, classes = runs / f"camvid-{way}-{commit()}-{seed}", runs / "camvid.txt"
    runs.mkdir(parents=True, exist_ok=True)
    classes.write_text("\n".join(CLASSES), encoding="utf-8")
    own = {"data": str(data), "classes": str(classes), "seed": seed, "output": str(folder)}
    config = load_config(COMMON, WAYS[way], asked, own)
    record = finished(config, folder, f"{way}, seed {seed}")
    figures = {f"test_{name}": record.metrics[name] for name in FIGURES}
    keep_figures("camvid", way, config, record, **figures, seconds=round(record.seconds, 1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Mean IoU on CamVid's test frames.")
    parser.add_argument("ways", nargs="*", default=list(WAYS), metavar="|".join(WAYS))
    parser.add_argument("--data", type=Path, default=SHARED / "camvid", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-j", "--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    here = commit()
    for way in options.ways:
        for seed in options.seeds:
            done = {(row["way"], row["seed"]) for row in read_rows("camvid") if row["commit"] == here}
            if (way, str(seed)) not in done:
                asked = {"device": options.device, "workers": options.workers}
                measure(way, asked, options.data.resolve(), seed)
    for way in options.ways:
        rows = [row for row in read_rows("camvid") if (row["commit"], row["way"]) == (here, way)]
        for name in FIGURES:
            values = [float(row[f"test_{name}"]) for row in rows]
            print(f"{way}: {name} {statistics.mean(values):.2%} ({min(values):.2%} to {max(values):.2%}), ", end="")
        seconds = statistics.mean(float(row["seconds"]) for row in rows)
        print(f"{seconds:.0f} s, the mean of {len(rows)} seeds, commit {here}")
