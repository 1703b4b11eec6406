"""What is said of images one after the other, and how far this is."""

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from rich.console import Console

from striate.cli.asked import Asked
from striate.cli.bars import bars, show_counted
from striate.cli.tables import say
from striate.counted import Counted
from striate.jobs.predict import Skipped

Record = TypeVar("Record")


def tell(
    asked: Asked,
    records: Iterable[Counted | Skipped | Record],
    document: Callable[[Record], dict[str, Any]],
    show: Callable[[Console, Record, dict[str, Any]], None],
) -> None:
    """Print what a job finds in images, in the form that was asked for, and how far it is.

    Args:
        asked: of the verb.
        records: the job's.
        document: makes of one image's what ``--json`` has of it.
        show: prints the same for people.
    """
    out, err = Console(), Console(stderr=True)
    found: list[dict[str, Any]] = []
    skipped = 0
    with bars(err) as progress:
        bar = progress.add_task("", total=None, visible=False, state="")
        for record in records:
            if isinstance(record, Counted):
                show_counted(progress, bar, record)
            elif isinstance(record, Skipped):
                skipped += 1
                say(err, f"passed over {record.source}: {record.reason}")
            else:
                progress.update(bar, visible=False)
                said = document(record)
                if asked.as_json:
                    found.append(said)
                elif asked.as_lines:
                    print(json.dumps(said), flush=True)
                else:
                    show(out, record, said)
    if asked.as_json:
        print(json.dumps({"run": str(asked.run), "predictions": found, "skipped": skipped}, indent=2))
    if skipped:
        say(err, f"{skipped:,} passed over")
