"""``python -m striate``: the command line, for launchers that start modules."""

from striate.cli import main

main()
