"""What networks cost, as one page."""

from collections.abc import Sequence
from pathlib import Path

from striate.costing.layers import LayerCost
from striate.costing.memory import INSIDE, Moment, largest_alive
from striate.graph.operators import Role
from striate.jobs.cost import Cost
from striate.reporting.charts import Step, bars, columns, timeline
from striate.reporting.drawings import Maps, network
from striate.reporting.page import Page
from striate.reporting.scripts import POINTING
from striate.units import format_bytes

LARGEST = 5
SERIES = [*(role.value for role in Role), INSIDE]


def write_cost_page(path: Path, costs: Sequence[tuple[str, Cost, int | None]]) -> None:
    """Write one self-contained page.

    Args:
        path: of the file.
        costs: for each network what it is and how it is run, what that costs, and the bytes measured if they were.

    Raises:
        StriateError: where the file system refuses.
    """
    if len(costs) == 1:
        program, found, measured = costs[0]
        page = Page(program, _peak(found))
        _network(page, found, measured, level=2)
    else:
        page = Page(f"What {len(costs)} networks cost", "Their peaks of memory side by side, then each by itself")
        _comparison(page, costs)
        for program, found, measured in costs:
            page.heading(program)
            page.text(_peak(found))
            _network(page, found, measured, level=3)
    page.write(path)


def _comparison(page: Page, costs: Sequence[tuple[str, Cost, int | None]]) -> None:
    is_measured = any(measured is not None for _, _, measured in costs)
    page.table(
        [
            *("program", "parameters", "multiply-adds", "backward", "textbook bound", "peak"),
            *(["measured"] if is_measured else []),
        ],
        [
            (
                program,
                found.parameters,
                found.macs,
                found.backward_macs,
                found.textbook.total_bytes,
                found.peak.size,
                *(["" if measured is None else measured] if is_measured else []),
            )
            for program, found, measured in costs
        ],
        sortable=True,
    )


def _network(page: Page, found: Cost, measured: int | None, level: int) -> None:
    if measured is not None:
        page.text(f"Measured: {format_bytes(measured)}; predicted {found.peak.size / measured - 1:+.3%}.")
    if found.evaluation is not None:
        page.text(f"Validating a batch of that size between two steps takes {format_bytes(found.evaluation)}.")
    for note in found.notes:
        page.text(f"Note: {note}")
    page.heading("Layers", level)
    _layers(page, found)
    page.heading("What the peak is made of", level)
    _shares(page, found)
    page.heading("Memory over the run", level)
    _timeline(page, found)
    maps, image = _maps(found.layers), found.graph.image
    shape = () if image is None else found.graph.tensors[image].shape[1:]
    if maps and len(shape) == 3:
        page.heading("What its units see", level)
        page.text(
            "Each layer's maps as a block, as wide as the square root of its channels, as high as that of the maps' "
            "height; below it the image, and in it what the middle unit sees, cut off at the image's edges."
        )
        page.figure(network(shape, maps), scrolls=True)


def _layers(page: Page, found: Cost) -> None:
    training = found.trains
    backward = ["backward"] if training else []
    page.table(
        [
            *("layer", "kind", "output", "parameters", "multiply-adds"),
            *backward,
            *("bytes out", "bytes as columns, one image", "sees", "stride", "from", "arithmetic"),
        ],
        [
            (
                layer.name,
                layer.kind,
                "x".join(map(str, layer.output_shape)),
                layer.parameters,
                layer.macs,
                *([layer.backward_macs] if training else []),
                layer.activation_bytes,
                layer.column_bytes,
                _square(layer.receptive_field),
                _square(layer.stride),
                _square(layer.offset),
                str(layer.arithmetic),
            )
            for layer in found.layers
        ],
        sortable=True,
    )
    more = f", {found.backward_macs:,} backward" if training else ""
    page.text(f"In all {found.parameters:,} parameters and {found.macs:,} multiply-adds forward{more}.")
    if any(layer.receptive_field for layer in found.layers):
        page.text(
            "One unit of a layer's output sees so many pixels of the image along each side (one number where the sides "
            "are alike), the next one as many but a stride further; the first sees them from the pixel given, which is "
            "negative in the padding. Multiply-adds and bytes out are of the whole batch."
        )
    if any(layer.column_bytes for layer in found.layers):
        page.text(
            "As columns: what a convolution's windows see in one image, each written out as a column of a matrix, so "
            "that the convolution is one product of matrices (im2col). The peak is of the program as it runs, without "
            "them."
        )


def _shares(page: Page, found: Cost) -> None:
    # A training step keeps the outputs for its gradients; at prediction they come and go.
    training = found.trains
    activations = Role.SAVED if training else Role.TEMPORARY
    textbook, peak, series = found.textbook, found.peak, _series([found.peak])
    bound = {Role.PARAMETER.value: textbook.parameter_bytes, activations.value: textbook.activation_bytes}
    if training:
        bound[Role.INPUT.value] = textbook.input_bytes
    page.figure(bars([("textbook bound", bound), ("real peak", peak.by)], series))
    page.table(
        ["", "textbook bytes", "bytes at the peak", "share of the peak"],
        [
            *(
                (name, bound.get(name, 0), peak.by.get(name, 0), f"{peak.by.get(name, 0) / peak.size:.1%}")
                for name in series
                if name in bound or name in peak.by
            ),
            ("together", textbook.total_bytes, peak.size, "100.0%"),
        ],
    )
    page.text(_difference(found))


def _difference(found: Cost) -> str:
    bound, peak = found.textbook.total_bytes, found.peak.size
    counted = (
        "The textbook counts the parameters once, the inputs, and every layer's output for every image of the batch, "
        "here beside the program's saved activations. "
        if found.trains
        else "The textbook counts the parameters once and, at each layer, the outputs that it or a later one still "
        "needs, here beside the program's temporaries. "
    )
    if not found.trains:
        more = "the input, activation functions out of place, and what an operator takes inside itself"
        less = "frees what nothing reads any more"
    else:
        more = (
            "gradients and the optimizer's state, activation functions out of place, an incoming and an outgoing "
            "gradient at once, and what an operator takes inside itself"
        )
        less = (
            "frees outputs that no gradient needs at once, the others on the way back, and those of one micro-batch "
            "before the next"
        )
    if peak < bound:
        return (
            f"{counted}The real peak is {format_bytes(bound - peak)} lower: there may be more, namely {more}, but the "
            f"program {less}."
        )
    return f"{counted}The real peak is {format_bytes(peak - bound)} higher, since there may also be {more}."


def _timeline(page: Page, found: Cost) -> None:
    moments = found.timeline
    shown = columns([moment.size for moment in moments])
    steps = [
        Step(
            place,
            moments[place].operator.removeprefix("aten.").removesuffix(".default"),
            moments[place].layer,
            moments[place].phase,
            moments[place].by,
            largest_alive(found.graph, place, LARGEST),
        )
        for place in shown
    ]
    page.figure(timeline(steps, [moment.phase for moment in moments], _series(moments)))
    page.script(POINTING)
    if len(shown) < len(moments):
        page.text(
            f"Of the {len(moments):,} operators {len(shown):,} are shown: the one with the most bytes of each stretch."
        )
    peak = max(steps, key=lambda step: step.size)
    page.text("The largest things alive at the peak:")
    page.table(["", "bytes"], peak.largest)


def _series(moments: Sequence[Moment]) -> list[str]:
    """Return what bytes are for, in one order for every network; what a device adds of its own comes last."""
    return [*SERIES, *sorted({name for moment in moments for name in moment.by} - set(SERIES))]


def _maps(layers: Sequence[LayerCost]) -> list[Maps]:
    """Return the layers whose output is maps of an image."""
    found = []
    for layer in layers:
        match layer.output_shape, layer.receptive_field, layer.stride, layer.offset:
            case (channels, height, width), (tall, wide), (down, across), (top, left):
                shape = channels, height, width
                found.append(Maps(layer.name, layer.kind, shape, (tall, wide), (down, across), (top, left)))
    return found


def _peak(found: Cost) -> str:
    return f"Peak on the {found.device}: {format_bytes(found.peak.size)}, at {found.peak.place}"


def _square(sides: Sequence[int | float]) -> int | float | str:
    """Say one number for sides that are alike."""
    return sides[0] if len(set(sides)) == 1 else " x ".join(f"{side:g}" for side in sides)
