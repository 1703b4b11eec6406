"""``striate``: its verbs, and how it ends. A verb imports what it needs when it runs, so that help answers at once."""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from striate.cli import check, compare, convert, cost, explain, export, models, plan, predict, runs, stylize, train, val
from striate.errors import InterruptedRunError, StriateError

app = typer.Typer(
    name="striate",
    help="Convolutional networks that fit: know their cost, train them in the memory you have, see what they learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("models")(models.models)
app.command("cost", no_args_is_help=True)(cost.cost)
app.command("plan", no_args_is_help=True)(plan.plan)
app.command("train", no_args_is_help=True)(train.train)
app.command("val", no_args_is_help=True)(val.val)
app.command("predict", no_args_is_help=True)(predict.predict)
app.command("explain", no_args_is_help=True)(explain.explain)
app.command("check", no_args_is_help=True)(check.check)
app.command("convert", no_args_is_help=True)(convert.convert)
app.command("export", no_args_is_help=True)(export.export)
app.command("stylize", no_args_is_help=True)(stylize.stylize)
app.command("runs")(runs.runs)
app.add_typer(compare.experiments, name="compare")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"striate {version('striate')}")
        raise typer.Exit


@app.callback()
def _global_options(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command line; exit with 0, with 1 for a job that failed, or with 2 for bad use."""
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv[1:2]:
            raise
        rank = int(os.environ.get("RANK", 0))
        if rank == 0 or not (isinstance(error, StriateError) and error.is_met_by_all):
            print(f"striate{f' (process {rank})' if rank else ''}: {_explain(error)}", file=sys.stderr)
        sys.exit(error.exit_status if isinstance(error, StriateError) else 1)


def _explain(error: Exception) -> str:
    if isinstance(error, InterruptedRunError):
        return f"{error.received}\n  {error.remedy}"
    if isinstance(error, StriateError):
        return f"expected {error.expected}\n  received {error.received}\n  {error.remedy}"
    if isinstance(error, OSError):
        place = f"{error.strerror or error}: {error.filename}"
        return f"{place}\n  Check that path, its permissions and the disk's free space."
    if isinstance(error, MemoryError) or "allocate" in str(error):
        return "this machine has too little memory for that\n  Try a smaller --batch-size, image or network."
    return f"{type(error).__name__}: {error}\n  This is a defect of striate: `striate --debug ...` shows where."
