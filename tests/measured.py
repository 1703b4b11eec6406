"""What a program really takes, each time in a process of its own that is a fork: the imports are paid once."""

import json
import os
import runpy
import subprocess
import sys
from dataclasses import asdict
from functools import cache

from striate.jobs.programs import ModelProgram


def measured(program: ModelProgram) -> int:
    """Return the peak of a program on the CPU, as `ModelProgram.measure` does."""
    given, said = _forking().stdin, _forking().stdout
    assert given is not None
    assert said is not None
    print(json.dumps(asdict(program)), file=given, flush=True)
    return int(said.readline())


@cache
def _forking() -> "subprocess.Popen[str]":
    """Start what ends with the tests, when nothing more can come in."""
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """Measure each program that comes in as a line."""
    # What the module that measures imports; it is itself run anew in each fork.
    import striate.costing.verify
    import striate.jobs.programs  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            sys.argv[1:] = [line, "cpu"]
            runpy.run_module("striate.jobs.measure", run_name="__main__")
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            print(f"no peak: status {status}", flush=True)


if __name__ == "__main__":
    main()
