"""Test accuracy of a recipe, the mean over seeds: what the scripts of single recipes share.

Each seed draws its own split into training and validation images, its own weights and its own order. A seed that was
measured at this commit is not measured again, and one that was interrupted goes on where it stopped.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import torch

from record import ROOT, append_row, commit, read_rows, rows_of
from striate.jobs.train import Finished, Started, train
from striate.training.config import load_config, read_recipe
from striate.training.records import EpochRecord

SIDE = 2048  # Of the matrices whose product tells what the machine can do.


def product_rate(dtype: torch.dtype) -> float:
    """Return the multiply-adds a second of a product of large matrices, the best of a few."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return SIDE**3 / min(seconds)


def measure(recipe: str, data: str, seed: int) -> None:
    folder = ROOT / "runs" / "benchmarks" / f"{recipe}-{commit()}-{seed}"
    config = load_config(read_recipe(recipe), {"data": data, "seed": seed, "output": str(folder)})
    rate = product_rate(torch.bfloat16 if config.amp else torch.float32)
    macs = parameters = 0
    for record in train(config, resume=folder if (folder / "args.yaml").exists() else None):
        if isinstance(record, Started):
            parameters = sum(layer.parameters for layer in record.layers)
            macs = sum(layer.macs for layer in record.layers if layer.kind in ("Conv2d", "Linear"))
        if isinstance(record, EpochRecord):
            print(f"seed {seed}, epoch {record.epoch}: validation {record.metrics['accuracy']:.4f}", flush=True)
        if isinstance(record, Finished):
            epochs = rows_of(folder / "results.csv")  # Those before an interruption, too.
            speed = statistics.median(float(epoch["images_per_second"]) for epoch in epochs)
            append_row(
                "accuracy",
                recipe=recipe,
                seed=seed,
                best_epoch=record.best_epoch,
                test_accuracy=record.metrics["accuracy"],
                seconds=round(sum(float(epoch["seconds"]) for epoch in epochs), 1),
                parameters=parameters,
                images_per_second=round(speed),
                # A step takes three times the multiply-adds of a prediction: maps, their gradients, the weights'.
                share_of_products=round(3 * macs * speed / rate, 3),
            )


def run(recipe: str, data: str, seeds: Sequence[int]) -> float:
    """Measure the seeds that are not measured yet, print their mean, and return the mean seconds of one."""
    here = commit()

    def measured() -> dict[int, dict[str, str]]:
        rows = [row for row in read_rows("accuracy") if (row["recipe"], row["commit"]) == (recipe, here)]
        return {int(row["seed"]): row for row in rows}

    for seed in seeds:
        if seed not in measured():
            measure(recipe, data, seed)
    rows = [measured()[seed] for seed in seeds]
    accuracies = [float(row["test_accuracy"]) for row in rows]
    seconds = statistics.mean(float(row["seconds"]) for row in rows)
    spread = f" +- {statistics.stdev(accuracies):.2%}" if len(accuracies) > 1 else ""
    print(f"{recipe}: test accuracy {statistics.mean(accuracies):.2%}{spread}, the mean of {len(rows)} seeds")
    last = rows[-1]
    print(
        f"{seconds:.0f} s each for all epochs with their validation, {last['images_per_second']} images a second, "
        f"{float(last['share_of_products']):.0%} of the rate of matrix products; {last['device']}, commit {here}"
    )
    return seconds


def main(recipes: Sequence[str], data: str, seeds: int) -> argparse.Namespace:
    """Read the command line of a script for some recipes, and measure the one that it names."""
    parser = argparse.ArgumentParser(description=f"Test accuracy of the recipes {', '.join(recipes)}.")
    parser.add_argument("recipe", nargs="?", default=recipes[0], choices=recipes)
    parser.add_argument("--data", default=data, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(seeds)))
    options = parser.parse_args()
    options.seconds = run(options.recipe, options.data, options.seeds)
    return options
