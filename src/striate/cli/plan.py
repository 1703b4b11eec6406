"""``striate plan``."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from striate.cli.tables import plain_table, say
from striate.errors import UsageError
from striate.jobs.networks import check_network
from striate.jobs.usage import check_page, parse_shapes
from striate.training.config import OptimizerName
from striate.units import format_bytes, format_number

if TYPE_CHECKING:
    from rich.console import Console

    from striate.jobs.fits import Fit
    from striate.planning.plan import Plan

BAR = 30  # Characters for the plain step's peak.


def plan(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="a network of the zoo, a run folder or PLACE:CALLABLE, as for `striate cost`; without, the whole zoo",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="bytes that a step of training may take, such as 4GiB, 500MB or 80%; all of --gpu by default",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("-b", "--batch-size", min=1, help="images a step; else the largest that fits", show_default=False),
    ] = None,
    opt: Annotated[Literal["none", OptimizerName], typer.Option(help="optimizer")] = "momentum",
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="CxHxW", help="shape of one image", show_default=False),
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(help="side or HEIGHTxWIDTH; the network's own by default", show_default=False)
    ] = None,
    in_chans: Annotated[int | None, typer.Option(min=1, help="channels of the images", show_default=False)] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="classes", show_default=False)] = None,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="of weights and images")] = "float32",
    master_weights: Annotated[
        bool, typer.Option("--master-weights", help="with --dtype bfloat16: 32-bit copies for the optimizer")
    ] = False,
    channels_last: Annotated[bool, typer.Option(help="memory layout of images and kernels")] = True,
    lossless: Annotated[bool, typer.Option("--lossless", help="only what leaves gradients equal, bit for bit")] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="stride|image-size|layers",
            help="what may be changed of the network where nothing fits otherwise; can be given several times",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="that share the batch, each with its part of it")] = 1,
    margin: Annotated[float, typer.Option(min=0, max=1, help="share of the budget that is left free")] = 0.02,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="NAME|BYTES", help="the card that it is planned for; the CPU by default"),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="write it as a page", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Find what makes a step of training fit into a budget of memory, at the least cost in time.

    Smaller micro-batches, 16-bit floats and recomputation, each predicted before anything runs. Exit status 1 where
    nothing fits; then the smallest budget that would is said.
    """
    if model is not None:
        check_network(model)
    shapes, size = parse_shapes(inputs or (), image_size, in_chans)
    check_page(html)
    if batch_size is None and (devices > 1 or allow):
        raise UsageError(
            expected="--devices and --allow with --batch-size",
            received="them without",
            remedy="Both are of a plan for a batch: give MODEL and -b.",
        )
    if html is not None and (model is None or batch_size is None):
        raise UsageError(
            expected="--html with MODEL and --batch-size", received="it without", remedy="A page is of one plan."
        )

    from rich.console import Console

    from striate.jobs.fits import what_fits
    from striate.jobs.memory import find_budget, resident_bytes
    from striate.jobs.plan import plan_of_model
    from striate.jobs.plan_page import write_plan_page
    from striate.jobs.programs import ModelProgram, Settings, find_program
    from striate.zoo import list_models

    budget = find_budget(memory, gpu)
    settings = Settings(
        *(batch_size or 1, "training", None if opt == "none" else opt, dtype),
        channels_last=channels_last,
        master_weights=master_weights,
    )

    def program(name: str) -> ModelProgram:
        return find_program(name, settings, inputs=shapes, image_size=size, in_chans=in_chans, num_classes=num_classes)

    out, err = Console(), Console(stderr=True)
    if model is not None and batch_size is not None:
        held = resident_bytes() if gpu is None else None
        with err.status("looking for a plan"):
            found = plan_of_model(
                *(program(model), budget),
                lossless=lossless,
                margin=margin,
                gpu=gpu,
                allow=allow or (),
                devices=devices,
            )
        if html is not None:
            write_plan_page(html, str(program(model)), found)
        if as_json:
            print(found.to_json())
        else:
            _print_plan(out, str(program(model)), found, held)
            if html is not None:
                say(out, f"page: {html}")
        if not found.fits:
            raise typer.Exit(1)
        return
    fits: dict[str, list[Fit]] = {}
    for name in [model] if model is not None else list_models():
        with err.status(f"{name}: the largest batch that fits"):
            wanted = what_fits(program(name), budget, lossless=lossless, margin=margin, gpu=gpu)
            fits[name] = list(wanted) if model is not None else [next(wanted)]
    if as_json:
        rows: list[dict[str, Any]] = [{"model": name} | asdict(fit) for name, found in fits.items() for fit in found]
        print(json.dumps({"budget_bytes": budget, "fits": rows}, indent=2))
    else:
        _print_fits(out, fits, budget)
    if not any(fit.batch_size for found in fits.values() for fit in found):
        raise typer.Exit(1)


def _print_plan(out: "Console", program: str, found: "Plan", held: int | None) -> None:
    say(out, program)
    say(out, f"plain: {format_bytes(found.plain_bytes)}; granted: {format_bytes(found.budget_bytes)}")
    if not found.fits and found.smallest_budget_bytes is not None:
        say(out, f"Nothing fits. The smallest budget that would is {format_bytes(found.smallest_budget_bytes)}:")
    say(out, found.in_words())
    layers = list(dict.fromkeys(recomputed.layer for recomputed in found.recompute))
    if layers:
        say(out, f"made again for the gradients, in {len(layers)} layers: {_shortened(layers)}")
    if found.evaluation_batch < found.batch_size:
        say(out, f"images at once in validation: {found.evaluation_batch}")
    alone = plain_table("Each remedy alone", [("remedy", False), ("peak", True), ("time", True), ("changes", False)])
    for remedy in found.remedies:
        time = f"x {remedy.relative_time:.2f}"
        alone.add_row(remedy.name, format_bytes(remedy.peak_bytes), time, remedy.changes_result or "nothing")
    out.print(alone)
    if found.frontier:
        columns = [("peak", True), ("", False), ("time", True), ("made again", True)]
        table = plain_table("With gradients equal, bit for bit", columns)
        for point in found.frontier:
            bar = "█" * round(BAR * point.peak_bytes / found.plain_bytes)
            time, again = f"x {point.relative_time:.2f}", format_number(point.recomputed, "operator")
            table.add_row(format_bytes(point.peak_bytes), bar, time, again)
        out.print(table)
    how = "measured on a few images" if found.is_measured else "estimated, from products and bytes that are moved"
    say(out, f"Times are {how}.")
    if held is None:
        return
    say(
        out,
        f"Expect {format_bytes(held + found.peak_bytes)} of the whole process, with {format_bytes(held)} that Python "
        "and torch hold; the C library may keep more of what was given back.",
    )


def _shortened(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _print_fits(out: "Console", fits: "dict[str, list[Fit]]", budget: int) -> None:
    say(out, f"The largest batch of a training step within {format_bytes(budget)}:")
    columns = [("network", False), ("remedy", False), ("batch", True), ("peak", True), ("time for an image", True)]
    table = plain_table(None, columns)
    for name, found in fits.items():
        for fit in found:
            batch = str(fit.batch_size) if fit.batch_size else "none"
            table.add_row(name, fit.name, batch, format_bytes(fit.peak_bytes), f"x {fit.relative_time:.2f}")
    out.print(table)
    say(out, "Times are estimated, and compare with a plain step of as few images as can be.")
