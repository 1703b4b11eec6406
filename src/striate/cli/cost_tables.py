"""What a network costs, as text."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console

from striate.cli.tables import aligned, plain_table, say
from striate.units import format_bytes, format_count

if TYPE_CHECKING:
    from striate.costing.layers import LayerCost
    from striate.costing.memory import Moment
    from striate.jobs.cost import Cost
    from striate.jobs.programs import ModelProgram

BARS = " ▁▂▃▄▅▆▇█"
PLOT_WIDTH, PLOT_HEIGHT = 64, 8


def print_cost(program: str, found: "Cost", measured: int | None, depth: int | None) -> None:
    """Print one network's layers with their arithmetic, the textbook's bound, the timeline and the peak."""
    console = Console()
    say(console, program)
    layers = found.layers if depth is None else found.folded(depth)
    for line in layer_lines(layers, training=found.trains):
        say(console, line)
    say(console, "")
    explained = [layer for layer in layers if str(layer.arithmetic)]
    for layer in explained:
        say(console, f"{layer.name} {layer.kind}: {layer.arithmetic}".strip())
    if explained:
        say(console, "")
    backward = f", {found.backward_macs:,} backward" if found.trains else ""
    again = f", {found.recomputed_macs:,} once more" if found.recomputed_macs else ""
    say(console, f"{found.parameters:,} parameters; {found.macs:,} multiply-adds{backward}{again}")
    say(console, f"textbook bound: {_textbook(found)}")
    say(console, "")
    for line in plot(found.timeline):
        say(console, line)
    say(console, f"peak on the {found.device}: {format_bytes(found.peak.size)}, at {found.peak.place}")
    if found.capacity is not None:
        verdict = "it fits" if found.peak.size <= found.capacity else "it does not fit"
        part = f"{found.peak.size / found.capacity:.1%} of {format_bytes(found.capacity)}"
        say(console, f"that is {part}: {verdict}")
    table = plain_table(None, [("of the peak", False), ("bytes", True), ("", False)])
    for what, share in found.peak.by.items():
        table.add_row(what, f"{share:,}", format_bytes(share))
    console.print(table)
    if found.evaluation is not None:
        say(console, f"validating a batch of that size between two steps: {format_bytes(found.evaluation)}")
    if measured is not None:
        say(console, f"measured: {format_bytes(measured)}; predicted {found.peak.size / measured - 1:+.3%}")
    for note in found.notes:
        say(console, f"note: {note}")


def print_comparison(
    programs: "Sequence[ModelProgram]", costs: "Sequence[Cost]", measured: Sequence[int | None]
) -> None:
    """Print several networks side by side."""
    console = Console()
    say(console, str(programs[0].settings))
    models = [program.model for program in programs]
    rows = {
        "input": [" + ".join(map(str, program.inputs)) for program in programs],
        "parameters": [f"{found.parameters:,}" for found in costs],
        "multiply-adds": [f"{found.macs:,}" for found in costs],
        "backward": [f"{found.backward_macs:,}" for found in costs],
        "layers": [str(len(found.layers)) for found in costs],
        "sees": [_last_field(found.layers) for found in costs],
        "textbook bound": [format_bytes(found.textbook.total_bytes) for found in costs],
        "peak": [format_bytes(found.peak.size) for found in costs],
        "at": [found.peak.place for found in costs],
        "validation": ["" if found.evaluation is None else format_bytes(found.evaluation) for found in costs],
        "measured": ["" if size is None else format_bytes(size) for size in measured],
        "error": [
            "" if size is None else f"{found.peak.size / size - 1:+.3%}"
            for found, size in zip(costs, measured, strict=True)
        ],
    }
    filled = [[name, *cells] for name, cells in rows.items() if any(cell not in ("", "0") for cell in cells)]
    names = [model.rpartition(":")[2] for model in models]
    headings = names if len(set(names)) == len(names) else models
    for line in aligned([("", False), *((heading, True) for heading in headings)], filled):
        say(console, line)
    for note in dict.fromkeys(note for found in costs for note in found.notes):
        say(console, f"note: {note}")


def layer_lines(layers: "Sequence[LayerCost]", *, training: bool) -> list[str]:
    """Return the layers as lines with aligned columns, as wide as they have to be: numbers without their arithmetic."""
    numbers = ["parameters", "multiply-adds", *(["backward"] if training else []), "out", "sees", "stride", "from"]
    columns = [("layer", False), ("kind", False), ("output", False), *((heading, True) for heading in numbers)]
    return aligned(columns, [_cells(layer, training) for layer in layers])


def _cells(layer: "LayerCost", training: bool) -> list[str]:
    return [
        layer.name,
        layer.kind,
        _sides(layer.output_shape),
        f"{layer.parameters:,}",
        format_count(layer.macs),
        *([format_count(layer.backward_macs)] if training else []),
        format_bytes(layer.activation_bytes).partition(" (")[0],
        _square(layer.receptive_field),
        _square(layer.stride),
        _square(layer.offset),
    ]


def plot(moments: "Sequence[Moment]") -> list[str]:
    """Draw the bytes alive over the run, with the phases below."""
    width = min(PLOT_WIDTH, len(moments))
    parts = [moments[column * len(moments) // width : (column + 1) * len(moments) // width] for column in range(width)]
    top = max(moment.size for moment in moments)
    heights = [round(max(moment.size for moment in part) / top * PLOT_HEIGHT * 8) for part in parts]
    lines = []
    for row in reversed(range(PLOT_HEIGHT)):
        bar = "".join(BARS[min(max(height - 8 * row, 0), 8)] for height in heights)
        lines.append(f"{bar} {format_bytes(top)}" if row == PLOT_HEIGHT - 1 else bar)
    marks = ""
    for phase, run in groupby(part[0].phase for part in parts):
        width = len(list(run))
        marks += (phase if len(phase) < width else "").ljust(width)
    return [*lines, marks.rstrip()]


def _textbook(found: "Cost") -> str:
    textbook = found.textbook
    parts = [f"activations {textbook.activation_bytes:,}", f"parameters {textbook.parameter_bytes:,}"]
    if found.trains:
        parts.insert(1, f"inputs {textbook.input_bytes:,}")
    return f"{' + '.join(parts)} = {textbook.total_bytes:,} bytes, {format_bytes(textbook.total_bytes)}"


def _last_field(layers: "Sequence[LayerCost]") -> str:
    fields = [layer.receptive_field for layer in layers if layer.receptive_field]
    return _sides(fields[-1]) if fields else ""


def _sides(shape: Sequence[float]) -> str:
    return "x".join(map(str, shape))


def _square(sides: Sequence[float]) -> str:
    """Say one number for sides that are alike."""
    return str(sides[0]) if len(set(sides)) == 1 else ",".join(map(str, sides))
