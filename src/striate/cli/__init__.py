"""The command line: parse, call a job, print."""

from striate.cli.main import main as main
