"""Plots of records, as SVG to stand in a page."""

import io
import warnings
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from striate.training.records import EpochRecord

TRAIN_COLOUR, VAL_COLOUR = "#1f6f8b", "#d1495b"


def curves(records: Sequence[EpochRecord]) -> str:
    """Draw the loss of training and validation, and beside it each of the validation's other metrics, by epoch."""
    names = [name for name in records[0].metrics if name != "loss"]
    figure = Figure(figsize=(5 + 5 * len(names), 3.4), layout="constrained")
    left, *others = figure.subplots(1, 1 + len(names), squeeze=False)[0]
    epochs = [record.epoch for record in records]
    left.plot(epochs, [record.train_loss for record in records], color=TRAIN_COLOUR, marker=".", label="training")
    losses = [record.metrics["loss"] for record in records if "loss" in record.metrics]
    if losses:
        left.plot(epochs, losses, color=VAL_COLOUR, marker=".", label="validation")
    left.set(xlabel="epoch", ylabel="loss", yscale="log")
    for axes, name in zip(others, names, strict=True):
        values = [record.metrics[name] for record in records]
        axes.plot(epochs, values, color=VAL_COLOUR, marker=".", label=f"validation {name}")
        axes.set(xlabel="epoch", ylabel=name)
    best = [record.epoch for record in records if record.best][-1:]
    for axes in (left, *others):
        for epoch in best:
            axes.axvline(epoch, color="#555", linewidth=1, linestyle=":", label="best")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def courses(values: Mapping[str, Sequence[tuple[float, float]]], metric: str) -> str:
    """Draw a metric of several runs by epoch.

    Args:
        values: epoch and metric of each run, by its name.
        metric: its name.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes: Axes = figure.subplots()
    for name, course in values.items():
        axes.plot([epoch for epoch, _ in course], [value for _, value in course], marker=".", label=name)
    axes.set(xlabel="epoch", ylabel=metric, yscale="log" if metric == "loss" else "linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for text in axes.legend(frameon=False).get_texts():
        text.set_parse_math(False)  # A dollar sign in a name is one.
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Draw how many images of each class (rows) were taken for each class (columns); mistakes stand out."""
    size = min(max(3.2, 0.5 * len(classes)), 14)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes: Axes = figure.subplots()
    totals = [max(sum(row), 1) for row in counts]
    shares = [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes))
    # A dollar sign in a name is one.
    axes.set_xticks(places, classes, rotation=90 if max(map(len, classes)) > 3 else 0, parse_math=False)
    axes.set_yticks(places, classes, parse_math=False)
    axes.set(xlabel="taken for", ylabel="truly")
    if len(classes) <= 30:
        for row in places:
            for column in places:
                if counts[row][column]:
                    colour = "white" if shares[row][column] > 0.5 else "black" if row == column else "#d1495b"
                    axes.text(column, row, str(counts[row][column]), ha="center", va="center", color=colour, fontsize=8)
    return _svg(figure)


def calibration(bins: Sequence[tuple[int, float, float]]) -> str:
    """Draw how right predictions are against how sure they are.

    Args:
        bins: images, mean probability and share that is right.
    """
    figure = Figure(figsize=(4.4, 4), layout="constrained")
    axes: Axes = figure.subplots()
    most = max(count for count, _, _ in bins)
    axes.plot([0, 1], [0, 1], color="#555", linewidth=1, linestyle=":", label="as right as sure")
    axes.scatter(
        [sure for _, sure, _ in bins],
        [right for _, _, right in bins],
        s=[20 + 180 * count / most for count, _, _ in bins],
        color=VAL_COLOUR,
        alpha=0.7,
        label="images, more where larger",
    )
    axes.set(xlabel="probability said", ylabel="share that is right", xlim=(0, 1.03), ylim=(-0.03, 1.05))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def precision_recall(courses: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Draw how precision goes down as recall goes up.

    Args:
        courses: recall and precision of what was found, surest first, of each class by its name.
    """
    figure = Figure(figsize=(5.4, 4), layout="constrained")
    axes: Axes = figure.subplots()
    for name, (recall, precision) in courses.items():
        axes.plot(recall, precision, drawstyle="steps-post", label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.03), ylim=(0, 1.05))
    for text in axes.legend(frameon=False).get_texts() if courses else ():
        text.set_parse_math(False)  # A dollar sign in a name is one.
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def by_count(courses: Mapping[str, Sequence[float]], counts: Sequence[int], measure: str) -> str:
    """Draw a measure from 0 to 1 of the first so many of something, on a scale of factors.

    Args:
        courses: the measure at each of ``counts``, by a name.
        counts: of what is measured.
        measure: its name.
    """
    figure = Figure(figsize=(5.4, 4), layout="constrained")
    axes: Axes = figure.subplots()
    for name, values in courses.items():
        axes.plot(counts, values, marker=".", label=name)
    axes.set(xlabel="first proposals", ylabel=measure, xscale="log", ylim=(0, 1.05))
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def lines(curves: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str, *, log: bool = False) -> str:
    """Draw curves.

    Args:
        curves: points, by the name of what they are of.
        across: what goes from left to right.
        up: what goes from below.
        log: whether what goes up is drawn on a scale of factors.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes: Axes = figure.subplots()
    for name, points in curves.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=name, marker="." if len(points) < 50 else "")
    axes.set(xlabel=across, ylabel=up, yscale="log" if log else "linear")
    for text in axes.legend(frameon=False).get_texts():
        text.set_parse_math(False)  # A dollar sign in a name is one.
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def times_split(times: Mapping[str, Mapping[str, float]]) -> str:
    """Draw how long several things take, on a scale of factors, and beside it where the time of each goes.

    Args:
        times: seconds of each part, by the parts' names, of each by its name.
    """
    figure = Figure(figsize=(9, 0.9 + 0.5 * len(times)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(times)
    totals = [sum(parts.values()) for parts in times.values()]
    left.barh(names, totals, color=TRAIN_COLOUR)
    for place, total in enumerate(totals):
        left.text(total, place, f" {total:.3g} s", va="center", fontsize=8)
    left.set(xscale="log", xlabel="seconds", xlim=(min(totals) / 3, max(totals) * 4))
    begin = [0.0] * len(names)
    for part, colour in zip(next(iter(times.values())), ("#d1495b", "#1f6f8b", "#e9c46a"), strict=True):
        shares = [parts[part] / total for parts, total in zip(times.values(), totals, strict=True)]
        right.barh(names, shares, left=begin, label=part, color=colour)
        begin = [sum(pair) for pair in zip(begin, shares, strict=True)]
    right.set(xlabel="share of it", xlim=(0, 1))
    right.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    left.invert_yaxis()
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def scatter(true: Sequence[float], said: Sequence[float]) -> str:
    """Draw numbers said against true ones."""
    figure = Figure(figsize=(4.4, 4), layout="constrained")
    axes: Axes = figure.subplots()
    ends = [min(*true, *said), max(*true, *said)]
    axes.plot(ends, ends, color="#555", linewidth=1, linestyle=":", label="as it is")
    axes.scatter(true, said, s=8, color=VAL_COLOUR, alpha=0.6, rasterized=len(true) > 2000)
    axes.set(xlabel="true", ylabel="said")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def frontier(points: Sequence[tuple[float, int]], chosen: tuple[float, int], budget: int) -> str:
    """Draw the peak of memory against the time of a step.

    Args:
        points: time, relative to the plain step's, and bytes of each plan.
        chosen: of the plan that was taken.
        budget: bytes granted.
    """
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes: Axes = figure.subplots()
    known = sorted(points)
    axes.plot([time for time, _ in known], [size / 1e6 for _, size in known], color=TRAIN_COLOUR, marker=".")
    axes.plot(chosen[0], chosen[1] / 1e6, color=VAL_COLOUR, marker="o", linestyle="", label="this plan")
    axes.axhline(budget / 1e6, color="#555", linewidth=1, linestyle=":", label="granted")
    axes.set(xlabel="time of a step, relative to the plain one", ylabel="peak (MB)", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Text stays text: a page's reader has fonts for scripts that this machine has none for.
    with rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
