"""A run's card: what was trained on what, what it is worth, and how to do it again, as a page of text."""

import shlex
from collections.abc import Sequence
from typing import Any

from striate.data.sets import Splits
from striate.files import replace_file
from striate.jobs.judged_page import metrics_in_words
from striate.planning.plan import Plan
from striate.training.command import command_of
from striate.training.config import TrainConfig
from striate.training.folder import RunFolder, Summary
from striate.training.group import Group
from striate.training.records import name_epoch
from striate.units import format_bytes, format_duration, format_size
from striate.weights import WeightsConfig

MOST_CLASSES = 50
NOBODY_SAYS = "nobody says; ask whoever made the images and the weights"


def write_card(
    folder: RunFolder, config: TrainConfig, splits: Splits, weights: WeightsConfig, summary: Summary, plan: Plan | None
) -> None:
    """Write ``README.md``.

    Args:
        folder: of the run.
        config: what was asked for.
        splits: the images.
        weights: how the network is built and fed.
        summary: what came of it.
        plan: how a step was taken within a budget.
    """
    look = weights.preprocessing
    lines = [
        f"# {config.model} on {splits.name}",
        "",
        f"On the {'test' if summary.part == 'test' else 'validation'} images: {metrics_in_words(summary.metrics)}.",
        "",
        *_facts(
            {
                "network": f"{config.model}, {summary.parameters:,} parameters",
                "weights": f"of {name_epoch(summary.best_epoch, summary.epochs)}, the best on the validation images",
                "begun with": weights.origin or "fresh weights",
                "licence": weights.licence or NOBODY_SAYS,
                "data": config.data,
                "split": ", ".join(f"{len(part):,} {name}" for name, part in splits.parts.items()),
                "classes": _classes(weights.classes) if weights.classes else "numbers",
                "image": f"{look.channels} x {format_size(look.image_size)}, mean {_levels(look.mean)}, std "
                f"{_levels(look.std)}, {'all of it' if look.crop_pct is None else f'crop_pct {look.crop_pct}'}, "
                f"{look.interpolation}",
                "plan": "none: memory was not limited" if plan is None else plan.in_words(),
                "peak": ", ".join(f"{phase} {format_bytes(size)}" for phase, size in summary.peaks.items())
                or "not measured",
                "time of its epochs": f"{format_duration(summary.seconds)} on {summary.device}, "
                f"{summary.threads} threads, {summary.processes} process{'es' if summary.processes > 1 else ''}",
                "seed": str(config.seed),
                "versions": ", ".join(f"{name} {version}" for name, version in summary.versions.items()),
            }
        ),
    ]
    if splits.notes:
        lines += ["", "Of the data:", "", *(f"- {note}" for note in splits.notes)]
    is_same = plan is None or config.lossless or config.plan is not None
    bits = "to the same bits on a CPU with as many threads" if is_same else "by a plan that is made anew"
    lines += [
        "",
        f"To train it again, {bits}:",
        "",
        f"    {Group(summary.processes).command(command_of(config))}",
        "",
        "To use it:",
        "",
        # Images of any size are taken; at this one things are as large as those that were learned from.
        f"    striate predict {shlex.quote(str(folder.path))} IMAGE..."
        f"{f' --image-size {min(look.image_size)}' if weights.task == 'segment' else ''}",
    ]
    text = "\n".join(lines) + "\n"
    replace_file(folder.card, lambda beside: beside.write_text(text, encoding="utf-8"))


def _facts(facts: dict[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {_cell(str(value))} |" for name, value in facts.items())]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _classes(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:MOST_CLASSES])
    return f"{len(classes)}: {shown}{', ...' if len(classes) > MOST_CLASSES else ''}"


def _levels(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
