"""``striate``: its verbs, and how it ends. A verb imports what it needs when it runs, so that help answers at once."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from striate.cli import models, predict, train
from striate.errors import StriateError

app = typer.Typer(
    name="striate",
    help="Convolutional networks that fit: know their cost, train them in the memory you have, see what they learned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("models")(models.models)
app.command("train", no_args_is_help=True)(train.train)
app.command("predict", no_args_is_help=True)(predict.predict)


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


def main() -> None:
    """Run the command line; exit with 0, with 1 for a job that failed, or with 2 for bad use."""
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv[1:2]:
            raise
        if isinstance(error, StriateError):
            print(f"striate: expected {error.expected}\n  received {error.received}\n  {error.remedy}", file=sys.stderr)
            sys.exit(error.exit_status)
        hint = "This is a defect of striate: `striate --debug ...` shows where."
        print(f"striate: {type(error).__name__}: {error}\n  {hint}", file=sys.stderr)
        sys.exit(1)
