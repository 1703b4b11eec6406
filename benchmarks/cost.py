"""Predicted against measured peaks on this CPU: python benchmarks/cost.py [zoo|half|odd|detectors|peers] [PATTERN].

- ``zoo``: every classifier and network for pixels at prediction (1 and 8 images) and at training (2 and 4 images; SGD,
  momentum, Adam), in both memory layouts.
- ``half``: bfloat16 and autocast, at prediction and training, in both layouts; micro-batches.
- ``odd``: networks that are not in the zoo, one with recomputed blocks among them.
- ``detectors``: networks that find things, those that can with one map and with a pyramid, at prediction, training and
  with autocast.
- ``peers``: what torchinfo, a plain count of fake tensors and torch's MemTracker say of some of the same programs.

Images are of 96 pixels at most. Each measurement is in a process of its own and becomes a row of ``cost_measured.csv``;
it stands until what is measured changes, so that the whole can be done in pieces of ``--minutes`` (30). Each prediction
becomes a row of ``cost.csv``, and stands for one commit. The peers need ``pip install --group benchmarks``.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from inspect import signature
from typing import Any

import torch

from peers import PEERS
from record import ROOT, append_row, commit, device, read_rows
from striate.jobs.cost import cost_of_model
from striate.jobs.programs import ModelProgram, Settings, find_program
from striate.jobs.usage import parse_input
from striate.zoo import ZOO, list_models

LARGEST_SIDE = 96
WHAT: list[tuple[Any, int]] = [
    (None, 1),
    (None, 8),
    *itertools.product(("sgd", "momentum", "adam"), (2, 4)),
]
HALVES: list[dict[str, Any]] = [{"dtype": "bfloat16"}, {"amp_dtype": "bfloat16"}]
# Of what is shown to networks so many, which their images' size suits.
FEW: dict[str, dict[str, Any]] = {"rcnn": {"proposals": 40, "side": 64}, "fast_rcnn": {"proposals": 200}}
HALF_MODELS = ("alexnet_owt", "vgg11", "googlenet_bn", "resnet18", "resnet50", "seresnet18", "xception", "mobilenet_v2")


def settings(optimizer: Any, batch: int, **options: Any) -> Settings:
    mode: Any = "inference" if optimizer is None else "training"
    return Settings(batch, mode, optimizer or "momentum", **options)


def of_zoo(model: str, chosen: Settings) -> ModelProgram:
    side = min(LARGEST_SIDE, ZOO[model].image_size[0])
    return find_program(model, chosen, image_size=(side, side), num_classes=10)


def zoo(pattern: str) -> Iterator[ModelProgram]:
    models = [model for model in list_models(pattern) if ZOO[model].task != "detect"]
    for model, (optimizer, batch), last in itertools.product(models, WHAT, (True, False)):
        yield of_zoo(model, settings(optimizer, batch, channels_last=last))


def half(pattern: str) -> Iterator[ModelProgram]:
    models = [model for model in HALF_MODELS if fnmatchcase(model, pattern)]
    for model, last in itertools.product(models, (True, False)):
        for what, floats in itertools.product(((None, 4), ("momentum", 4)), HALVES):
            yield of_zoo(model, settings(*what, channels_last=last, **floats))
        for parts in (2, 3):
            yield of_zoo(model, settings("momentum", 8, channels_last=last, micro_batches=parts))


def odd(pattern: str) -> Iterator[ModelProgram]:
    sys.path.insert(0, str(ROOT / "tests"))
    from odd_networks import ODD

    for name, (_, shapes) in ODD.items():
        if fnmatchcase(name, pattern):
            inputs = tuple(parse_input(shape) for shape in shapes)
            for what, last in itertools.product(((None, 1), (None, 4), ("momentum", 4), ("adam", 8)), (True, False)):
                chosen = settings(*what, channels_last=last)
                yield ModelProgram(f"{ROOT}/tests/odd_networks.py:{name}", inputs, chosen)


def detectors(pattern: str) -> Iterator[ModelProgram]:
    models = [model for model in list_models(pattern) if ZOO[model].task == "detect"]
    for model in models:
        can_have_one = "pyramid" in signature(ZOO[model].build).parameters
        shown = FEW.get(model, {})
        ways = [{**shown, "pyramid": pyramid} for pyramid in (False, True)] if can_have_one else [shown]
        for options, last in itertools.product(ways, (True, False)):
            for what in ((None, 1), (None, 4), ("momentum", 2), ("adam", 4)):
                yield replace(of_zoo(model, settings(*what, channels_last=last)), options=options)
            halved = settings("momentum", 4, channels_last=last, amp_dtype="bfloat16")
            yield replace(of_zoo(model, halved), options=options)


def peers(pattern: str) -> Iterator[ModelProgram]:
    models = [model for model in list_models(pattern) if ZOO[model].task == "classify"]
    for model, what in itertools.product(models, ((None, 8), ("momentum", 4))):
        yield of_zoo(model, settings(*what, channels_last=False))


SETS = {"zoo": zoo, "half": half, "odd": odd, "detectors": detectors, "peers": peers}


# What decides how much memory a program takes for real.
MEASURED = (
    "src/striate/graph/programs.py",
    "src/striate/costing/verify.py",
    "src/striate/jobs/programs.py",
    "src/striate/training/optimizers.py",
    "src/striate/models",
    "src/striate/blocks",
    "src/striate/detection",
    "tests/odd_networks.py",
)


@cache
def stands(commit_measured: str) -> bool:
    """Tell whether nothing that decides a measurement has changed since a commit."""
    return not subprocess.run(
        ["git", "diff", "--quiet", commit_measured, "--", *MEASURED], cwd=ROOT, check=False
    ).returncode


def run() -> None:
    parser = argparse.ArgumentParser(description="Predicted against measured peaks of memory.")
    parser.add_argument("set", nargs="?", choices=SETS, default="zoo", help="default: %(default)s")
    parser.add_argument("pattern", nargs="?", default="*", help="of networks; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after so many; default: %(default)s")
    options = parser.parse_args()
    here, until = commit(), time.monotonic() + 60 * options.minutes
    programs = {str(program).replace(f"{ROOT}/", ""): program for program in SETS[options.set](options.pattern)}
    tools: dict[str, Callable[[ModelProgram], int]] = {"striate": lambda program: cost_of_model(program).peak.size}
    tools |= PEERS if options.set == "peers" else {}
    rows = {(row["tool"], row["program"]): row for row in read_rows("cost") if row["commit"] == here}
    truths = {
        row["program"]: int(row["measured"])
        for row in read_rows("cost_measured")
        if row["device"] == device() and row["torch"] == torch.__version__ and stands(row["commit"])
    }
    for name, program in programs.items():
        for tool in tools:
            if (tool, name) in rows or time.monotonic() > until:
                continue
            if name not in truths:
                truths[name] = program.measure(0)
                append_row("cost_measured", program=name, measured=truths[name])
            rows[tool, name] = predict(options.set, tool, tools[tool], name, program, truths[name])
    for tool in tools:
        summarise(tool, [row for (by, name), row in rows.items() if by == tool and name in programs], len(programs))


def predict(
    which: str, tool: str, ask: Callable[[ModelProgram], int], name: str, program: ModelProgram, truth: int
) -> dict[str, str]:
    """Have a tool predict a program's peak, and keep and print what it said."""
    began = time.monotonic()
    predicted = ask(program)
    seconds = time.monotonic() - began
    figures = {
        "set": which,
        "tool": tool,
        "program": name,
        "predicted": str(predicted),
        "measured": str(truth),
        "error": f"{predicted / truth - 1:.6f}",
        "seconds": f"{seconds:.3f}",
    }
    append_row("cost", **figures)
    error = f"{predicted / truth - 1:+9.4%}"
    print(f"{error}  {predicted:>14,} {truth:>14,}  {seconds:5.2f} s  {tool}, {name}", flush=True)
    return figures


def summarise(tool: str, rows: list[dict[str, str]], wanted: int) -> None:
    errors = sorted(abs(float(row["error"])) for row in rows)
    print(f"{tool}: {len(errors)} of {wanted} programs")
    if errors:
        within = ", ".join(f"{sum(e <= limit for e in errors)} within {limit:.1%}" for limit in (0.005, 0.02, 0.03))
        median = statistics.median(errors)
        print(f"  error: median {median:.3%}, largest {errors[-1]:.3%}; {within}")


if __name__ == "__main__":
    run()
