"""Predicted against measured peaks on a CUDA card: python benchmarks/card.py measure RAW; then rows RAW COMMIT.

``measure`` takes classifiers at prediction and at training, in 32 and 16 bits, in both memory layouts, in micro-batches
and with recomputation, networks for pixels and networks that find things. It predicts each in processes beside, runs it
in this one, and writes a line of JSON to ``RAW`` (gzip): the peaks, what was predicted of every operator, and what the
allocator says before and after each, so that what cuDNN and cuBLAS take inside can be seen. ``rows`` makes a row of
``card.csv`` of each line, on any machine. With ``--graphs``, a folder of the operator graphs that were traced on that
card (each a pickle of the program's name and its graph, in LZMA), it predicts them anew, for rows of their own: the
column ``predicted_by`` says at which commit, ``commit`` where the program was measured.
"""

import argparse
import gc
import gzip
import json
import lzma
import multiprocessing
import pickle
import random
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from record import append_row, commit, device
from striate.costing.devices.cuda import MATRICES, cuda_card
from striate.costing.devices.cuda_allocator import with_blocks
from striate.costing.memory import INSIDE, find_peak, timeline
from striate.costing.verify import measure_peak
from striate.graph.dispatch import is_bookkeeping, named_arguments
from striate.graph.operators import Phase
from striate.jobs.cost import cost_of_model
from striate.jobs.plan import step_maker
from striate.jobs.plan_search import make_search
from striate.jobs.programs import ModelProgram, Settings, find_program
from striate.zoo import ZOO

SHOWN = {"convolution", "convolution_backward", *MATRICES}
CLASSIFIERS = (
    *("lenet5", "alexnet_owt", "vgg16", "googlenet_bn", "resnet18", "resnet50", "seresnet18", "xception"),
    *("squeezenet1_0", "mobilenet_v2"),
)
HALVED = ("vgg16", "resnet18", "resnet50", "mobilenet_v2")
HALVES: tuple[dict[str, Any], ...] = ({"dtype": "bfloat16"}, {"amp_dtype": "bfloat16"}, {"amp_dtype": "float16"})
LAYOUTS = (True, False)
BATCH = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """A program, and how it is run.

    Args:
        program: without what is recomputed.
        recomputes: whether as much is recomputed as lowers its peak.
        tf32: whether convolutions of 32-bit floats may round to 19 bits, as torch has them do unless told otherwise.
    """

    program: ModelProgram
    recomputes: bool = False
    tf32: bool = True

    def __str__(self) -> str:
        return f"{self.program}{', recomputed' if self.recomputes else ''}{'' if self.tf32 else ', without TF32'}"


def asked() -> Iterator[Asked]:
    """Yield what is measured."""
    for model, last in product(CLASSIFIERS, LAYOUTS):
        for batch in (1, BATCH):
            yield of_zoo(model, Settings(batch, channels_last=last))
        yield of_zoo(model, learning(channels_last=last))
    for model, last, floats in product(HALVED, LAYOUTS, HALVES):
        yield of_zoo(model, Settings(BATCH, channels_last=last, **floats))
        yield of_zoo(model, learning(channels_last=last, **floats))
    for model in HALVED:
        yield of_zoo(model, learning("adam"))
        yield of_zoo(model, learning(micro_batches=3))
        yield replace(of_zoo(model, learning()), recomputes=True)
        yield replace(of_zoo(model, learning(channels_last=False)), tf32=False)
    for model, last in product(("fcn8s", "unet"), LAYOUTS):
        yield of_zoo(model, Settings(1, channels_last=last))
        yield of_zoo(model, replace(learning(channels_last=last), batch_size=8))
    for model, pyramid in product(("faster_rcnn", "mask_rcnn"), (False, True)):
        for settings in (
            Settings(1),
            Settings(4),
            replace(learning(), batch_size=2),
            replace(learning("adam", channels_last=False), batch_size=4),
            replace(learning("adamw", amp_dtype="bfloat16"), batch_size=4),
        ):
            yield of_zoo(model, settings, size=(360, 480), pyramid=pyramid)
    others: tuple[tuple[str, dict[str, Any]], ...] = (
        *(("yolo", {}), ("yolov3", {})),
        *(("fast_rcnn", {"proposals": 200}), ("rcnn", {"proposals": 40, "side": 64})),
    )
    for model, options in others:
        for settings in (Settings(4), replace(learning(), batch_size=4), replace(learning("adam"), batch_size=2)):
            yield of_zoo(model, settings, **options)


def learning(optimizer: Any = "momentum", **options: Any) -> Settings:
    return Settings(BATCH, "training", optimizer, **options)


def of_zoo(model: str, settings: Settings, size: tuple[int, int] | None = None, **options: Any) -> Asked:
    program = find_program(model, settings, image_size=size or ZOO[model].image_size, num_classes=10)
    return Asked(replace(program, options=options))


def allocated() -> list[int]:
    """Return the bytes handed out now and at the most, as the allocator rounds them, and as they were asked for."""
    known = torch.cuda.memory_stats_as_nested_dict()  # Empty before CUDA is initialized.
    return [
        known[name]["all"][which] for name in ("allocated_bytes", "requested_bytes") for which in ("current", "peak")
    ]


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps, for every operator that runs, what the allocator says before and after, and the most in between."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[dict[str, Any]] = []
        self._phase: Phase | None = None

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Watch a phase; one inside another is watched once."""
        outer, self._phase = self._phase, phase
        try:
            if outer is None:
                with self:
                    yield
            else:
                yield
        finally:
            self._phase = outer

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if is_bookkeeping(func):
            return func(*args, **given)
        torch.cuda.reset_peak_memory_stats()
        before = allocated()
        made = func(*args, **given)
        after = allocated()
        found: dict[str, Any] = {"name": str(func), "phase": self._phase, "before": before, "after": after}
        if str(func).split(".")[1] in SHOWN or after[3] > max(before[2], after[2]):
            found["given"] = {name: described(value) for name, value in named_arguments(func, args, given).items()}
            found["made"] = described(made)
        self.seen.append(found)
        return made


def described(value: Any) -> Any:
    """Return a value as JSON has it, a tensor as its shape, strides and type."""
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "strides": list(value.stride()), "dtype": str(value.dtype)}
    if isinstance(value, list | tuple):
        return [described(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def predict(gpu: str, wanted: Asked) -> tuple[ModelProgram, dict[str, Any]]:
    """Return a program as it is to run, and what is predicted of it; for a process of its own."""
    torch.set_num_threads(1)
    program = wanted.program
    try:
        if wanted.recomputes:
            settings = program.settings
            search = make_search(
                step_maker(program, foreach=True), settings.batch_size, gpu, settings.channels_last, updates_early=False
            )
            again = search.variant(1).smallest().recompute
            program = replace(program, recompute={one.place: one.operator for one in again})
        began = time.monotonic()
        cost = cost_of_model(program, gpu)
    except Exception as error:  # What goes wrong with one is a finding, and the others are measured.
        return program, {"failed": f"{type(error).__name__}: {error}"}
    operators = [
        {"name": of.operator, "phase": of.phase, "layer": of.layer, "size": of.size, "inside": of.by.get(INSIDE, 0)}
        for of in cost.timeline
    ]
    seconds = round(time.monotonic() - began, 3)
    by = dict(cost.peak.by)
    return program, {
        "peak": cost.peak.size,
        "at": cost.peak.place,
        "by": by,
        "seconds": seconds,
        "operators": operators,
    }


def measured(program: ModelProgram, *, tf32: bool) -> dict[str, Any]:
    """Run a program on the card as a process of its own would find it, and once more operator by operator."""
    torch.backends.cudnn.allow_tf32 = tf32
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    there = allocated()[0]
    try:
        with torch.device("cuda"):
            built = program.build(foreach=True)
        peak = measure_peak(built, "cuda")
        known = torch.cuda.memory_stats()
        watch = Watch()
        built.shortened().run(watch.during)  # As it is traced.
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    requested, reserved = known["requested_bytes.all.peak"], known["reserved_bytes.all.peak"]
    return {"peak": peak, "requested": requested, "reserved": reserved, "there": there, "operators": watch.seen}


def circumstances() -> dict[str, Any]:
    """Return what else decides what the card's libraries take."""
    return {
        "device": device(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "benchmark": torch.backends.cudnn.benchmark,
        "command": shlex.join(["python", *sys.argv]),
    }


def measure(raw: Path, gpu: str, pattern: str, minutes: float, workers: int) -> None:
    """Measure one program after the other, those that are in the file already left out."""
    until = time.monotonic() + 60 * minutes
    torch.cuda.init()  # type: ignore[no-untyped-call]
    done = {line["program"] for line in lines(raw)} if raw.exists() else set()
    wanted = [one for one in asked() if fnmatchcase(str(one), pattern) and str(one) not in done]
    random.Random(0).shuffle(wanted)  # What is cut off has some of everything.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for one, (program, predicted) in zip(wanted, pool.map(partial(predict, gpu), wanted), strict=True):
            if time.monotonic() > until:
                pool.shutdown(wait=False, cancel_futures=True)
                break
            found = measured(program, tf32=one.tf32)
            line = {"program": str(one), **circumstances(), "predicted": predicted, "measured": found}
            with gzip.open(raw, "at", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(in_words(line), flush=True)


def lines(raw: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(raw, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def in_words(line: dict[str, Any]) -> str:
    predicted, found = line["predicted"], line["measured"]
    if failures := [said["failed"] for said in (predicted, found) if "failed" in said]:
        return f"failed: {line['program']}: {'; '.join(failures)}"
    peak, real = predicted["peak"], found["peak"]
    return f"{peak / real - 1:+9.4%}  {peak:>14,} {real:>14,} {found['requested']:>14,}  {line['program']}"


def predicted_anew(folder: Path, gpu: str) -> dict[str, int]:
    """Return the peaks that this version predicts, from operator graphs that were kept; by program."""
    device, found = cuda_card(gpu), {}
    for path in sorted(folder.glob("*.pkl.xz")):
        name, *_, graph = pickle.loads(lzma.decompress(path.read_bytes()))
        found[name] = find_peak(timeline(with_blocks(graph), device)).size
    return found


def rows(raw: Path, measured_at: str, gpu: str, graphs: Path | None) -> None:
    """Make a row of each line, and say how far predictions are off."""
    errors, anew = [], None if graphs is None else predicted_anew(graphs, gpu)
    for line in lines(raw):
        predicted, found = line["predicted"], line["measured"]
        if "failed" in predicted or "failed" in found or (anew is not None and line["program"] not in anew):
            print(in_words(line))
            continue
        peak = predicted["peak"] if anew is None else anew[line["program"]]
        print(in_words(line | {"predicted": predicted | {"peak": peak}}))
        errors.append(peak / found["peak"] - 1)
        append_row(
            "card",
            **{name: line[name] for name in ("device", "torch", "command", "cuda", "cudnn", "program")},
            commit=measured_at,
            predicted_by=measured_at if anew is None else commit(),
            predicted=peak,
            measured=found["peak"],
            error=f"{errors[-1]:.6f}",
            requested=found["requested"],
            reserved=found["reserved"],
            seconds=predicted["seconds"] if anew is None else "",
        )
    if errors:
        middle, largest = statistics.median(map(abs, errors)), max(errors, key=abs)
        print(f"{len(errors)} programs; error: median {middle:.3%}, largest {largest:+.3%}")
        for share in (0.005, 0.01, 0.02, 0.03):
            print(f"within {share:.1%}: {sum(abs(error) <= share for error in errors)}")
        print(f"above: {sum(error > 0 for error in errors)}; below: {sum(error < 0 for error in errors)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Predicted against measured peaks of memory on a CUDA card.")
    parser.add_argument("what", choices=("measure", "rows"))
    parser.add_argument("raw", type=Path, metavar="RAW")
    parser.add_argument("commit", nargs="?", default="", help="that was measured, for rows")
    parser.add_argument("--graphs", type=Path, metavar="FOLDER", help="predict these anew, for rows")
    parser.add_argument("--gpu", default="h200", help="the card's name, as --gpu of the program; default: %(default)s")
    parser.add_argument("--pattern", default="*", help="of programs; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after so many; default: %(default)s")
    parser.add_argument("-j", "--workers", type=int, default=8, help="that predict; default: %(default)s")
    options = parser.parse_args()
    if options.what == "rows":
        rows(options.raw, options.commit, options.gpu, options.graphs)
    else:
        measure(options.raw, options.gpu, options.pattern, options.minutes, options.workers)
