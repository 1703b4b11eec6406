"""``striate cost``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from striate.errors import UsageError
from striate.jobs.networks import check_network
from striate.jobs.usage import check_page, parse_shapes
from striate.training.config import OptimizerName

if TYPE_CHECKING:
    from striate.jobs.cost import Cost
    from striate.jobs.programs import ModelProgram


def cost(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="networks of the zoo, run folders, file.py:callable or package.module:callable",
            show_default=False,
        ),
    ],
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", min=1, help="images at once")] = 1,
    train: Annotated[bool, typer.Option("--train", help="a step of training, not prediction")] = False,
    opt: Annotated[
        Literal["none", OptimizerName] | None,
        typer.Option(help="optimizer, with --train; momentum by default", show_default=False),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="CxHxW",
            help="shape of one image; again for each further argument of the network, such as 128:int64",
            show_default=False,
        ),
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
    amp: Annotated[bool, typer.Option("--amp", help="16-bit floats where they are safe (autocast)")] = False,
    amp_dtype: Annotated[
        Literal["bfloat16", "float16"] | None,
        typer.Option(help="with --amp; bfloat16 by default", show_default=False),
    ] = None,
    channels_last: Annotated[bool, typer.Option(help="memory layout of images and kernels")] = True,
    depth: Annotated[
        int | None, typer.Option(min=1, help="fold modules nested deeper than this", show_default=False)
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="NAME|BYTES", help="the card that it is planned for; the CPU by default"),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="run it for real, and say what it took")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write all of it as one page", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Say what networks cost, without running them: every layer with its arithmetic, and the true peak of memory.

    The peak is the most bytes of tensors alive at one moment of the real program: inputs, parameters, gradients and
    optimizer state included. Several networks are shown side by side.
    """
    for model in models:
        check_network(model)
    shapes, size = parse_shapes(inputs or (), image_size, in_chans)
    check_page(html)
    for flag, given, other in (("--opt", opt, "--train"), ("--amp-dtype", amp_dtype, "--amp")):
        if given is not None and not (train if other == "--train" else amp):
            raise UsageError(
                expected=f"{flag} with {other}", received="it alone", remedy=f"Add {other}, or leave it out."
            )

    from striate.cli.cost_tables import print_comparison, print_cost
    from striate.jobs.cost import check_card, cost_of_model
    from striate.jobs.programs import Settings, find_program

    if gpu is not None:
        check_card(gpu)
    settings = Settings(
        batch_size,
        "training" if train else "inference",
        None if opt == "none" else opt or "momentum",
        dtype,
        (amp_dtype or "bfloat16") if amp else None,
        channels_last,
        master_weights=master_weights,
    )
    programs = [
        find_program(model, settings, inputs=shapes, image_size=size, in_chans=in_chans, num_classes=num_classes)
        for model in models
    ]
    costs = [cost_of_model(program, gpu) for program in programs]
    measured = [
        program.measure(found.peak.size, gpu) if verify else None
        for program, found in zip(programs, costs, strict=True)
    ]
    if html is not None:
        from striate.jobs.cost_page import write_cost_page

        write_cost_page(html, list(zip(map(str, programs), costs, measured, strict=True)))
    if as_json:
        rows = [_document(*row, depth) for row in zip(programs, costs, measured, strict=True)]
        print(json.dumps(rows[0] if len(rows) == 1 else {"networks": rows}, indent=2))
    elif len(costs) == 1:
        print_cost(str(programs[0]), costs[0], measured[0], depth)
    else:
        print_comparison(programs, costs, measured)
    if html is not None and not as_json:
        print(f"page: {html}")


def _document(program: "ModelProgram", found: "Cost", measured: int | None, depth: int | None) -> dict[str, Any]:
    from dataclasses import asdict

    peak = found.peak
    shown = found.layers if depth is None else found.folded(depth)
    layers = [asdict(layer) | {"arithmetic": str(layer.arithmetic)} for layer in shown]
    document: dict[str, Any] = {
        "model": program.model,
        "inputs": [str(spec) for spec in program.inputs],
        "settings": asdict(program.settings),
        "device": found.device,
        "device_bytes": found.capacity,
        "parameters": found.parameters,
        "macs": found.macs,
        "backward_macs": found.backward_macs,
        "recomputed_macs": found.recomputed_macs,
        "layers": layers,
        "textbook": asdict(found.textbook),
        "peak_bytes": peak.size,
        "peak_at": {"phase": peak.phase, "layer": peak.layer, "operator": peak.operator},
        "peak_by": dict(peak.by),
        "evaluation_bytes": found.evaluation,
        "notes": list(found.notes),
    }
    if measured is not None:
        document |= {"measured_bytes": measured, "error": peak.size / measured - 1}
    return document
