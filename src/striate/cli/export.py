"""``striate export``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from striate.jobs.usage import check_export


def export(
    run: Annotated[Path, typer.Argument(help="folder of a run, or of weights with their config", show_default=False)],
    images: Annotated[
        list[str] | None,
        typer.Argument(help="image files to check it on; those that the run has not seen by default"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="RUN/model.onnx by default")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Write a trained network as an ONNX file, checked against ONNX Runtime on real images.

    The file takes any number of images at once; its metadata holds the classes and the preprocessing.
    """
    check_export(run, images or ())

    from striate.jobs.export import export as job
    from striate.units import format_bytes

    done = job(run, images or (), output=output)
    if as_json:
        print(json.dumps(asdict(done) | {"path": str(done.path)}, indent=2))
        return
    print(f"{done.path}: {format_bytes(done.size_bytes)}, ONNX operators of version {done.opset}")
    print(
        f"the same outputs in ONNX Runtime on {done.images} images, to {done.difference:.1e} of the largest; "
        "classes and preprocessing are in its metadata"
    )
