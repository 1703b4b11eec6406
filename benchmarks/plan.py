"""Planned steps of training on this CPU, measured: python benchmarks/plan.py [table|triples|gradients] [PATTERN].

- ``table``: for each network, plans for shares of the plain step's peak, with gradients unchanged and with
  micro-batches, beside ``torch.utils.checkpoint`` around each block, and around about as many groups of blocks as the
  square root of their number. All ways of one network are timed in one process, step by step in turn; a time is the
  median of its ratios to the plain step of the same round.
- ``triples``: random networks, batches and budgets; each plan's peak is measured in a process of its own.
- ``gradients``: how far the gradients of planned steps are from those of the plain one, on random images: the largest
  difference in any tensor, as a share of that tensor's largest gradient.

Each finished network, triple or step becomes rows of ``plan.csv``, ``plan_triples.csv`` or ``plan_gradients.csv``, and
stands for one commit; the whole can be done in pieces of ``--minutes`` (30).
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain, pairwise
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from record import ROOT, append_row, commit, read_rows
from striate.costing.verify import measure_peak
from striate.graph.operators import Phase
from striate.graph.programs import Training
from striate.jobs.cost import cost_of_model
from striate.jobs.memory import find_budget
from striate.jobs.networks import InputSpec
from striate.jobs.plan import plan_of_model, step_maker
from striate.jobs.plan_search import make_plan, make_search
from striate.jobs.programs import ModelProgram, Settings, find_program
from striate.zoo import ZOO

ROUNDS = 5
EVERYTHING = "20GB"  # More than any of the plain steps takes.

CASES = {
    "resnet50": ModelProgram("resnet50", (InputSpec((3, 224, 224)),), Settings(32, "training")),
    "vgg16": ModelProgram("vgg16", (InputSpec((3, 224, 224)),), Settings(16, "training")),
    "googlenet": ModelProgram("googlenet", (InputSpec((3, 224, 224)),), Settings(32, "training")),
    "mobilenet_v2": ModelProgram("mobilenet_v2", (InputSpec((3, 224, 224)),), Settings(32, "training")),
    "UNet": ModelProgram(f"{ROOT}/tests/odd_networks.py:UNet", (InputSpec((3, 256, 256)),), Settings(16, "training")),
}
# How many times less memory than the plain step: with gradients unchanged, and with micro-batches too.
LESS = (1.3, 1.6, 1.9, 2.7)
LESS_IN_PARTS = (2.7, 5.0)


@dataclass
class Way:
    """A way to take a step, with what was predicted of it."""

    name: str
    program: Training
    predicted_bytes: int | None = None
    predicted_time: float | None = None
    parts: int = 1
    recomputed: int = 0


class Checkpointed(nn.Sequential):
    """Layers of which only what they are given is kept."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers; again for the gradients."""
        return checkpoint(super().forward, x, use_reentrant=False)  # type: ignore[no-any-return]


def blocks_of(features: nn.Sequential) -> list[list[nn.Module]]:
    """Return a chain as the blocks that its paper has: residual, inception, or convolutions up to a pooling."""
    blocks: list[list[nn.Module]] = []
    for name, child in features.named_children():
        is_small = isinstance(child, nn.ReLU | nn.MaxPool2d | nn.Identity | nn.LocalResponseNorm)
        goes_on = isinstance(child, nn.Conv2d) and not (blocks and isinstance(blocks[-1][-1], nn.MaxPool2d))
        if name.startswith("stage"):
            blocks += [[block] for block in child.children()]
        elif blocks and (is_small or goes_on):
            blocks[-1].append(child)
        else:
            blocks.append([child])
    return blocks


def checkpoint_by_hand(network: Any, groups: Callable[[int], int]) -> bool:
    """Put checkpoints around a network's blocks, in a number of groups; tell whether it has such blocks."""
    if isinstance(getattr(network, "features", None), nn.Sequential):
        blocks = blocks_of(network.features)
        count = groups(len(blocks))
        cuts = [len(blocks) * group // count for group in range(count + 1)]
        parts = [chain.from_iterable(blocks[first:last]) for first, last in pairwise(cuts)]
        network.features = nn.Sequential(*(Checkpointed(*part) for part in parts))
        return True
    if groups(16) < 16:
        return False
    for name, child in [(name, child) for name, child in network.named_modules() if type(child) is nn.Sequential]:
        network.set_submodule(name, Checkpointed(*child))
    return True


def real(program: ModelProgram) -> Training:
    built = program.build()
    assert isinstance(built, Training)
    return built


def ways_of(case: ModelProgram) -> Iterator[Way]:
    # In 32-bit floats: how much faster 16-bit ones are, is another question.
    make, size = step_maker(case, foreach=False), case.settings.batch_size
    search = make_search(make, size, None, None, amp_dtypes=(None,), limit=find_budget(EVERYTHING))
    plain = search.variant(1).plain
    yield Way("plain", real(case), plain.peak, 1.0)
    for name, groups in (("checkpoint, each block", lambda count: count), ("checkpoint, square root", isqrt)):
        program = real(case)
        if checkpoint_by_hand(program.network, groups):
            yield Way(name, program)
    for lossless, all_less in ((True, LESS), (False, LESS_IN_PARTS)):
        for less in all_less:
            budget = int(plain.peak / less)
            found = make_plan(search, budget, channels_last=True, lossless=lossless, margin=0)
            if found.fits:
                name = f"{less} times less{', gradients unchanged' if lossless else ''}"
                yield Way(
                    *(name, real(case.planned(found)), found.peak_bytes, found.relative_time),
                    *(found.accumulate, len(found.recompute)),
                )


def measure_case(name: str) -> None:
    """Time all ways of one network in turn, and measure their peaks; print a document."""
    ways = list(ways_of(CASES[name]))
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    for way in ways:
        way.program.begin()
    for _ in range(ROUNDS + 1):
        for way in ways:
            began = time.perf_counter()
            way.program.run(lambda _phase: nullcontext())
            seconds[way.name].append(time.perf_counter() - began)
    rows = []
    for way in ways:
        ratios = [a / b for a, b in zip(seconds[way.name][1:], seconds["plain"][1:], strict=True)]
        rows.append(
            {
                "network": name,
                "way": way.name,
                "predicted": way.predicted_bytes,
                "measured": measure_peak(way.program, "cpu"),
                "predicted_time": way.predicted_time,
                "time": statistics.median(ratios),
                "time_low": min(ratios),
                "time_high": max(ratios),
                "seconds": statistics.median(seconds[way.name][1:]),
                "micro_batches": way.parts,
                "recomputed": way.recomputed,
            }
        )
    print(json.dumps(rows))


def table(pattern: str, until: float) -> None:
    here = commit()
    known = {row["network"] for row in read_rows("plan") if row["commit"] == here}
    for name in CASES:
        if name in known or not fnmatchcase(name, pattern) or time.monotonic() > until:
            continue
        done = subprocess.run([sys.executable, __file__, "--case", name], capture_output=True, text=True, check=True)
        for row in json.loads(done.stdout.splitlines()[-1]):
            figures = {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
            append_row("plan", **figures)
    for row in (row for row in read_rows("plan") if row["commit"] == here and fnmatchcase(row["network"], pattern)):
        plain = next(r for r in read_rows("plan") if (r["commit"], r["network"]) == (here, row["network"]))
        less = int(plain["measured"]) / int(row["measured"])
        print(
            f"{row['network']:14} {row['way']:40} {int(row['measured']) / 1e6:8.1f} MB  {less:5.2f} x less  "
            f"time {float(row['time']):5.2f} ({float(row['time_low']):.2f} to {float(row['time_high']):.2f})"
            + (f", predicted {float(row['predicted_time']):.2f}" if row["predicted_time"] else "")
        )


def triples(pattern: str, until: float, count: int = 60) -> None:
    here, drawn = commit(), random.Random(0)
    known = {(row["program"], row["budget"]): row for row in read_rows("plan_triples") if row["commit"] == here}
    names = [name for name, entry in ZOO.items() if name != "mlp"]
    for _ in range(count):
        model, batch, share = drawn.choice(names), drawn.randint(2, 24), drawn.uniform(0.2, 0.9)
        optimizer: Any = drawn.choice(("sgd", "momentum", "adam"))
        settings = Settings(batch, "training", optimizer, channels_last=drawn.random() < 0.5)
        side = min(drawn.choice((64, 96)), ZOO[model].image_size[0])
        program = find_program(model, settings, image_size=(side, side), num_classes=10)
        if not fnmatchcase(model, pattern) or time.monotonic() > until:
            continue
        plain = cost_of_model(program).peak.size
        budget = int(share * plain)
        if (str(program), str(budget)) in known:
            continue
        began = time.monotonic()
        found = plan_of_model(program, budget, frontier=False)
        seconds = time.monotonic() - began
        measured = program.planned(found).measure(found.peak_bytes)
        append_row(
            "plan_triples",
            program=str(program),
            budget=budget,
            fits=found.fits,
            predicted=found.peak_bytes,
            measured=measured,
            micro_batches=found.accumulate,
            amp_dtype=found.amp_dtype,
            recomputed=len(found.recompute),
            seconds=f"{seconds:.2f}",
        )
    rows = [row for row in read_rows("plan_triples") if row["commit"] == here]
    fitting = [row for row in rows if row["fits"] == "True"]
    over = [row["program"] for row in fitting if int(row["measured"]) > int(row["budget"])]
    errors = [abs(int(row["predicted"]) / int(row["measured"]) - 1) for row in rows]
    print(f"{len(rows)} of {count} triples; {len(fitting)} fit, of which {len(over)} passed their budget {over}")
    if errors:
        print(f"predicted against measured: median {statistics.median(errors):.3%}, largest {max(errors):.3%}")


def gradients_of(program: ModelProgram) -> dict[str, Tensor]:
    """Return the gradients of one step, on images that every call draws alike."""
    torch.manual_seed(0)
    built = real(program)
    images, labels = built.given
    built = built.with_given([torch.randn_like(images), torch.randint_like(labels, 10)])
    found: dict[str, Tensor] = {}

    @contextmanager
    def during(phase: Phase) -> Iterator[None]:
        if phase is Phase.OPTIMIZER:
            found.update({name: p.grad.clone() for name, p in built.network.named_parameters() if p.grad is not None})
        yield

    built.begin()
    torch.manual_seed(1)
    built.run(during)
    return found


def gradients(pattern: str, until: float) -> None:
    here = commit()
    known = {(row["network"], row["way"]): row for row in read_rows("plan_gradients") if row["commit"] == here}
    for model in ("lenet5", "resnet18", "seresnet18"):  # Without dropout, which draws other numbers for parts.
        settings = Settings(16, "training", None)
        side = min(96, ZOO[model].image_size[0])
        program = find_program(model, settings, image_size=(side, side), num_classes=10)
        if not fnmatchcase(model, pattern) or time.monotonic() > until:
            continue
        again = plan_of_model(program, 1, lossless=True, frontier=False)
        ways = {
            "recomputation": program.planned(again),
            "4 micro-batches": replace(program, settings=replace(settings, micro_batches=4)),
            "bfloat16 where safe": replace(program, settings=replace(settings, amp_dtype="bfloat16")),
        }
        plain = gradients_of(program)
        for way, planned in ways.items():
            if (model, way) not in known:
                theirs = gradients_of(planned)
                furthest = max(
                    float((plain[name] - theirs[name]).abs().max() / plain[name].abs().max().clamp_min(1e-30))
                    for name in plain
                )
                is_equal = all(torch.equal(plain[name], theirs[name]) for name in plain)
                append_row("plan_gradients", network=model, way=way, difference=f"{furthest:.3g}", equal=is_equal)
    for row in (row for row in read_rows("plan_gradients") if row["commit"] == here):
        same = "equal, bit for bit" if row["equal"] == "True" else f"differ by {row['difference']} at most"
        print(f"{row['network']:14} {row['way']:20} gradients {same}")


WAYS: dict[str, Callable[[str, float], None]] = {"table": table, "triples": triples, "gradients": gradients}


def run() -> None:
    parser = argparse.ArgumentParser(description="Planned steps of training, measured.")
    parser.add_argument("what", nargs="?", choices=WAYS, default="table", help="default: %(default)s")
    parser.add_argument("pattern", nargs="?", default="*", help="of networks; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after so many; default: %(default)s")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.case:
        measure_case(options.case)
        return
    until = time.monotonic() + 60 * options.minutes
    WAYS[options.what](options.pattern, until)


if __name__ == "__main__":
    run()
