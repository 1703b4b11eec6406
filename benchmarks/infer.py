"""Prediction of one image beside eager torch and ONNX Runtime: python benchmarks/infer.py [PATTERN].

Every network of the zoo at its own size. ``striate`` is the network as `striate predict` runs it: batch norm folded,
maps laid out as they are fastest; ``eager`` the same network as torch runs it, in the usual layout; ``onnxruntime`` its
export, with the arena for memory and without. Times are the median of some rounds, one way after the other in each
round, as shares of eager's. Peaks are those of tensors, by torch's profiler, and for all ways what the process grew by
while it predicted, each in a process of its own. Each network becomes a row of ``infer.csv``; of networks that find
things there is no export.
"""

import argparse
import ctypes
import io
import json
import logging
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from record import append_row, commit, read_rows, resident
from striate.costing.verify import watched
from striate.inference.folding import make_ready
from striate.zoo import create_model, find_model, list_models

PAUSE = 0.1  # Seconds: threads of the way before wait for more work on the processor.
OPTIONS: dict[str, dict[str, Any]] = {"rcnn": {"proposals": 100}}  # Its own 2,000 take minutes.
WAYS = ("eager", "striate", "onnxruntime", "onnxruntime without arena")


def ways_of(model: str) -> tuple[str, ...]:
    return WAYS[:2] if find_model(model).task == "detect" else WAYS


def image_of(model: str) -> Tensor:
    entry = find_model(model)
    return torch.randn(1, entry.in_chans, *entry.image_size, generator=torch.Generator().manual_seed(0))


def made(model: str, way: str) -> tuple[Callable[[], object], list[Tensor]]:
    """Return what predicts once, and the tensors that are there before."""
    torch.manual_seed(0)
    network, image = create_model(model, **OPTIONS.get(model, {})).eval(), image_of(model)
    search = getattr(network, "search", None)
    corners = torch.rand(1, 0 if search is None else search.room, 2) * torch.tensor(image.shape[:1:-1]) / 2
    given = [] if search is None else [torch.cat([corners, corners + 8 + corners.flip(1)], 2)]
    if way == "striate":
        image = image.to(memory_format=make_ready(network))
    if way.startswith("onnxruntime"):
        return session(network, image, arena=way == "onnxruntime"), []

    def once() -> None:
        with torch.inference_mode():
            network(image, *given)

    return once, [*network.parameters(), *network.buffers(), image, *given]


def session(network: torch.nn.Module, image: Tensor, arena: bool) -> Callable[[], object]:
    from onnxruntime import InferenceSession, SessionOptions

    logging.disable(logging.WARNING)  # The exporter says which operators of torchvision it does without.
    with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
        program: Any = torch.onnx.export(network, (image,), dynamo=True, verbose=False)
    logging.disable(logging.NOTSET)
    options = SessionOptions()
    options.enable_cpu_mem_arena = arena
    options.intra_op_num_threads = torch.get_num_threads()
    loaded = InferenceSession(program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name, pixels = loaded.get_inputs()[0].name, image.numpy()
    return lambda: loaded.run(None, {name: pixels})


def measured(model: str, way: str) -> dict[str, int]:
    once, held = made(model, way)
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # What making it has freed would be filled before anything grows.
    Path("/proc/self/clear_refs").write_text("5")  # Begin to count the most anew.
    before, _ = resident()
    once()
    grown = max(resident()[1] - before, 0)
    if not held:
        return {"grown": grown}
    with watched(held) as peak:
        once()
    return {"grown": grown, "tensors": peak.size}


def timed(model: str, rounds: int) -> dict[str, float]:
    """Return each way's time as a share of eager's, the median over rounds."""
    ways = {way: made(model, way)[0] for way in ways_of(model)}
    for once in ways.values():
        once()
    shares: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        seconds = {}
        for way, once in ways.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            once()
            seconds[way] = time.perf_counter() - started
        for way, value in seconds.items():
            shares[way].append(value / seconds["eager"])
    return {way: statistics.median(values) for way, values in shares.items()}


def compare(model: str, rounds: int) -> None:
    figures: dict[str, Any] = {"model": model, "rounds": rounds}
    for way in ways_of(model):
        command = [sys.executable, __file__, "--one", json.dumps([model, way])]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        figures |= {f"{way}, {what}": value for what, value in found.items()}
    figures |= {f"{way}, time": round(share, 3) for way, share in timed(model, rounds).items()}
    append_row("infer", **figures)
    tensors = figures["striate, tensors"] / figures["eager, tensors"]
    print(f"{model}: {figures['striate, time']:.2f} of eager's time, {tensors:.2f} of its peak of tensors")
    for way in ways_of(model):
        grown = figures[f"{way}, grown"] / 1e6
        print(f"  {way}: {figures[f'{way}, time']:.2f} of the time, grown by {grown:.0f} MB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prediction beside eager torch and ONNX Runtime.")
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(*json.loads(options.one))))
        sys.exit()
    done = {row["model"] for row in read_rows("infer") if row["commit"] == commit()}
    for model in list_models(options.pattern):
        if model not in done:
            compare(model, options.rounds)
