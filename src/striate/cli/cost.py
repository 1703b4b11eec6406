"""``striate cost``."""

import json
from typing import Annotated, Any

import typer

from striate.jobs.usage import check_models, parse_size
from striate.training.config import OptimizerName


def cost(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="networks of the zoo", show_default=False)],
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", min=1, help="images at once")] = 1,
    train: Annotated[bool, typer.Option("--train", help="a step of training, not prediction")] = False,
    opt: Annotated[OptimizerName, typer.Option(help="optimizer, with --train")] = "momentum",
    image_size: Annotated[
        str | None, typer.Option(help="side or HEIGHTxWIDTH; the network's own by default", show_default=False)
    ] = None,
    in_chans: Annotated[int | None, typer.Option(min=1, help="channels of the images", show_default=False)] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="classes", show_default=False)] = None,
    channels_last: Annotated[bool, typer.Option(help="memory layout of images and kernels")] = True,
    verify: Annotated[bool, typer.Option("--verify", help="run it for real, and say what it took")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Say how much memory networks take on a CPU, without running them.

    The peak is the most bytes of tensors alive at one moment of the real program, in 32-bit floats: inputs, parameters,
    gradients and optimizer state included.
    """
    check_models(models)
    size = parse_size(image_size)

    from rich.console import Console

    from striate.cli.tables import plain_table, say
    from striate.jobs.cost import cost_of_model
    from striate.jobs.programs import Settings, find_program
    from striate.units import format_bytes

    console, rows = Console(), []
    for model in models:
        program = find_program(
            model,
            Settings(batch_size, "training" if train else "inference", opt, channels_last=channels_last),
            image_size=size,
            in_chans=in_chans,
            num_classes=num_classes,
        )
        found = cost_of_model(program)
        peak = found.peak
        where = {"phase": peak.phase.value, "layer": peak.layer, "operator": peak.operator}
        row: dict[str, Any] = {"model": model, "parameters": found.parameters, "peak_bytes": peak.size}
        rows.append(row | {"peak_at": where, "peak_by": dict(peak.by)})
        if not as_json:
            say(console, str(program))
            table = plain_table(None, [("of the peak", False), ("bytes", True)])
            for what, share in (*peak.by.items(), ("together", peak.size)):
                table.add_row(what, format_bytes(share))
            console.print(table)
            operator = peak.operator.removeprefix("aten.").removesuffix(".default")
            say(console, f"at {operator}, {peak.phase.value}{f', {peak.layer}' if peak.layer else ''}")
            say(console, f"{found.parameters:,} parameters")
        if verify:
            measured = program.measure(peak.size)
            error = peak.size / measured - 1
            rows[-1] |= {"measured_bytes": measured, "error": error}
            if not as_json:
                say(console, f"measured {format_bytes(measured)}: predicted {error:+.3%}")
        if not as_json:
            say(console, "")
    if as_json:
        print(json.dumps(rows[0] if len(rows) == 1 else {"networks": rows}, indent=2))
