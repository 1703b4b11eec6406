"""What other weights bring to a folder of photographs: python benchmarks/transfer.py [probe|finetune|scratch].

Five kinds of flowers, 300 photographs of each; MobileNetV2 with weights of ImageNet. Every choice is made on a part of
the folder's ``train``; its ``val`` is looked at once, after training. ``probe`` fits the last layer alone, ``finetune``
is the recipe of that name, ``scratch`` the recipe `photos` with MobileNetV2 from fresh weights, in as many epochs as
fit into the same time. Each finished seed becomes a row of ``transfer.csv``.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from record import ROOT, append_row, commit, read_rows
from running import finished
from striate.training.config import load_config, read_recipe

SHARED = (ROOT.parent / "shared" / "data").resolve()
FROM_IMAGENET = {
    "pretrained": str(SHARED / "imagenet-pretrained" / "mobilenet_v2_1.0_224_tf_fp16.safetensors"),
    "model_kwargs": {"padding": "same"},
    "mean": 0.5,
    "std": 0.5,
}
WAYS: dict[str, dict[str, Any]] = {
    "probe": {"model": "mobilenet_v2", "probe": True, "epochs": 0, "amp": True, **FROM_IMAGENET},
    "finetune": read_recipe("finetune") | FROM_IMAGENET,
    "scratch": read_recipe("photos") | {"model": "mobilenet_v2", "image_size": 224, "epochs": 12, "amp": True},
}


def measure(way: str, data: Path, seed: int, device: str, workers: int) -> None:
    folder = ROOT / "runs" / "benchmarks" / f"transfer-{way}-{commit()}-{seed}"
    asked = {"data": str(data), "seed": seed, "output": str(folder), "device": device, "workers": workers}
    config = load_config(WAYS[way], asked)
    record = finished(config, folder, f"{way}, seed {seed}")
    append_row(
        "transfer",
        way=way,
        seed=seed,
        epochs=record.epochs,
        best_epoch=record.best_epoch,
        test_accuracy=record.metrics["accuracy"],
        seconds=round(record.seconds, 1),
    )


def divided(flowers: Path, folder: Path) -> Path:
    """Return a folder in which what was to validate by is to test by, so that a part of ``train`` validates."""
    for part, ours in (("train", "train"), ("val", "test")):
        (folder / ours).symlink_to(flowers / part)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Accuracy on flowers with and without weights of ImageNet.")
    parser.add_argument("ways", nargs="*", default=list(WAYS), metavar="|".join(WAYS))
    parser.add_argument("--data", type=Path, default=SHARED / "flowers5", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-j", "--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    here = commit()
    with tempfile.TemporaryDirectory() as name:
        data = divided(options.data.resolve(), Path(name))
        for way in options.ways:
            for seed in options.seeds:
                done = {(row["way"], row["seed"]) for row in read_rows("transfer") if row["commit"] == here}
                if (way, str(seed)) not in done:
                    measure(way, data, seed, options.device, options.workers)
    for way in options.ways:
        rows = [row for row in read_rows("transfer") if (row["commit"], row["way"]) == (here, way)]
        accuracy = statistics.mean(float(row["test_accuracy"]) for row in rows)
        seconds = statistics.mean(float(row["seconds"]) for row in rows)
        print(f"{way}: test accuracy {accuracy:.2%}, {seconds:.0f} s, the mean of {len(rows)} seeds, commit {here}")
