"""Predicted against measured peaks on this CPU: python benchmarks/cost.py [PATTERN] [--minutes 30].

Every network of the zoo at prediction (1 and 8 images) and at training (2 and 4 images; SGD, momentum, Adam), in both
memory layouts, on images of 96 pixels at most. Each measurement is in a process of its own and becomes a row; what was
measured at this commit is not measured again, so that the whole can be done in pieces.
"""

import argparse
import itertools
import statistics
import time
from typing import Any

from record import append_row, commit, read_rows
from striate.jobs.cost import cost_of_model
from striate.jobs.programs import ModelProgram, Settings, find_program
from striate.zoo import ZOO, list_models

WHAT = (("inference", 1), ("inference", 8), *itertools.product(("sgd", "momentum", "adam"), (2, 4)))
LARGEST_SIDE = 96


def programs(pattern: str) -> list[ModelProgram]:
    found = []
    for model, (what, batch), channels_last in itertools.product(list_models(pattern), WHAT, (True, False)):
        side = min(LARGEST_SIDE, ZOO[model].image_size[0])
        optimizer: Any = "momentum" if what == "inference" else what
        mode: Any = "inference" if what == "inference" else "training"
        settings = Settings(batch, mode, optimizer, channels_last=channels_last)
        found.append(find_program(model, settings, image_size=(side, side), num_classes=10))
    return found


def run() -> None:
    parser = argparse.ArgumentParser(description="Predicted against measured peaks of memory.")
    parser.add_argument("pattern", nargs="?", default="*", help="of networks; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after so many; default: %(default)s")
    options = parser.parse_args()
    here, until = commit(), time.monotonic() + 60 * options.minutes
    wanted = programs(options.pattern)

    def measured() -> dict[str, dict[str, str]]:
        return {row["program"]: row for row in read_rows("cost") if row["commit"] == here}

    done = measured()
    for program in wanted:
        if str(program) not in done and time.monotonic() < until:
            began = time.monotonic()
            predicted = cost_of_model(program).peak.size
            seconds = time.monotonic() - began
            truth = program.measure(predicted)
            error = predicted / truth - 1
            append_row(
                "cost",
                program=str(program),
                predicted=predicted,
                measured=truth,
                error=f"{error:.6f}",
                seconds=f"{seconds:.3f}",
            )
            print(f"{error:+9.4%}  {predicted:>14,} {truth:>14,}  {seconds:.2f} s  {program}", flush=True)
    rows = [row for name, row in measured().items() if name in set(map(str, wanted))]
    errors = sorted(abs(float(row["error"])) for row in rows)
    print(f"{len(rows)} of {len(wanted)} programs at commit {here}")
    if errors:
        print(f"error: median {statistics.median(errors):.4%}, largest {errors[-1]:.4%}")
        print(f"within 0.5 %: {sum(error <= 0.005 for error in errors)} of {len(errors)}")


if __name__ == "__main__":
    run()
