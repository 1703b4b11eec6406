"""Images a second of the whole training loop, from JPEG files: python benchmarks/throughput.py [loop|overhead].

- ``loop``: ResNet-18 and ResNet-50 at 224 pixels. Beside the loop of striate, plainly and with 16-bit floats and
  torch.compile, a loop as anybody writes it: PyTorch, Pillow, 32-bit floats, the usual memory layout, as many workers.
  Each way runs in a process of its own, the plain loop before and after the others; its faster time counts.
- ``overhead``: what the loop of striate takes besides the step: against a bare loop on the same batches, the same
  network and the same optimizer, in turn. LeNet-5, whose steps are short, and ResNet-18.

Each finished way becomes a row of ``throughput.csv`` or ``overhead.csv``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from accuracy import product_rate
from record import ROOT, append_row
from striate.data.source import open_data
from striate.jobs.train import train
from striate.training.config import load_config
from striate.training.records import EpochRecord, StepRecord
from striate.zoo import create_model, find_model

WARM = 2  # Steps that are not timed.
BATCH = 32
WAYS: dict[str, dict[str, Any]] = {
    "striate": {},
    "striate --amp": {"amp": True},
    "striate --amp --compile": {"amp": True, "compile": True},
}


class Photographs(Dataset[tuple[Tensor, int]]):
    """Photographs as a course reads them: opened, scaled, cut out in the middle, normalised."""

    def __init__(self, paths: list[Path], labels: list[int]) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        image = Image.open(self.paths[place]).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = torch.from_numpy(np.array(image.crop((left, top, left + 224, top + 224)))).permute(2, 0, 1)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return (pixels.float() / 255 - mean) / std, self.labels[place]


def plain(model: str, data: str, workers: int, device: str, steps: int) -> float:
    """Return the images a second of a plain loop."""
    train_set = open_data(data, 0).train
    paths = [Path(train_set.source(place)) for place in range(len(train_set))]
    photographs = Photographs(paths, train_set.labels.tolist())
    network = create_model(model, num_classes=len(train_set.classes)).to(device)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    started, seen, done = 0.0, 0, 0
    while True:
        for images, labels in DataLoader(photographs, BATCH, shuffle=True, num_workers=workers, drop_last=True):
            loss = F.cross_entropy(network(images.to(device)), labels.to(device))
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            float(loss.detach())  # As a loop that shows its loss.
            done += 1
            seen += BATCH * (done > WARM)
            if done == WARM:
                started = time.perf_counter()
            if done == WARM + steps:
                return seen / (time.perf_counter() - started)


def ours(way: str, model: str, data: str, workers: int, device: str, steps: int) -> float:
    """Return the images a second of `striate train`."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {"data": data, "model": model, "batch_size": BATCH, "lr": 0.01, "crop_pct": 0.875, "epochs": 100}
        asked |= {"workers": workers, "device": device, "output": f"{folder}/run", "checkpoint_seconds": 30}
        started, seen, done = 0.0, 0, 0
        for record in train(load_config(asked, WAYS[way])):
            if isinstance(record, StepRecord):
                done += 1
                seen += record.images * (done > WARM)
                if done == WARM:
                    started = time.perf_counter()
                if done == WARM + steps:
                    break
        return seen / (time.perf_counter() - started)


def compare(models: list[str], data: str, workers: int, device: str, steps: int) -> None:
    for model in models:
        speeds: dict[str, float] = {}
        for way in ("plain PyTorch", *WAYS, "plain PyTorch"):
            asked = json.dumps([way, model, data, workers, device, steps])
            command = [sys.executable, __file__, "one", asked]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            speeds[way] = max(float(out.split()[-1]), speeds.get(way, 0.0))
            print(f"{model}, {way}: {speeds[way]:.1f} images a second", flush=True)
        for way, speed in speeds.items():
            times = speed / speeds["plain PyTorch"]
            rate = product_rate(torch.bfloat16 if "amp" in way else torch.float32)
            share = 3 * find_model(model).macs * speed / rate
            append_row(
                "throughput",
                model=model,
                way=way,
                workers=workers,
                images_per_second=round(speed, 1),
                times_plain=round(times, 2),
                share_of_products=round(share, 3) if device == "cpu" else "",
            )
            print(f"{model}, {way}: {times:.2f} times plain PyTorch")


def overhead(model: str, image_size: int, rounds: int) -> None:
    """Time the loop's steps, without what it waited for images, and those of a bare one, an epoch of each in turn."""
    asked = {"data": "digits", "model": model, "image_size": image_size, "in_chans": 1, "batch_size": BATCH}
    with tempfile.TemporaryDirectory() as folder:
        records = iter(train(load_config(asked, {"output": f"{folder}/run", "epochs": rounds + 1, "lr": 1e-4})))
        network = create_model(model, num_classes=10, in_chans=1, image_size=image_size)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9)
        images = torch.randn(BATCH, 1, image_size, image_size).to(memory_format=torch.channels_last)
        labels, ratios = torch.randint(0, 10, (BATCH,)), []
        for _ in range(rounds + 1):
            moments = []
            for record in records:
                if isinstance(record, StepRecord):
                    moments.append(time.perf_counter())
                if isinstance(record, EpochRecord):
                    ours = (moments[-1] - moments[0]) * (1 - record.waited)
                    break
            begun = time.perf_counter()
            for _ in moments[1:]:
                loss = F.cross_entropy(network(images), labels)
                torch.autograd.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                float(loss.detach())
            ratios.append(ours / (time.perf_counter() - begun))
        median = statistics.median(ratios[1:])
        append_row("overhead", model=model, image_size=image_size, rounds=rounds, times_bare=round(median, 3))
        print(f"{model} at {image_size} pixels: the loop takes {median:.3f} times as long as a bare one")


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        way, *rest = json.loads(sys.argv[2])
        print(plain(*rest) if way == "plain PyTorch" else ours(way, *rest))
        sys.exit()
    parser = argparse.ArgumentParser(description="Images a second of the training loop.")
    parser.add_argument("what", nargs="?", default="loop", choices=["loop", "overhead"])
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--data", default=str(ROOT.parent / "shared" / "data" / "flowers5"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-j", "--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if options.what == "loop":
        compare(options.models, options.data, options.workers, options.device, options.steps)
    else:
        overhead("lenet5", 32, options.rounds)
        overhead("resnet18", 64, 3)
