"""Measure one program in a process of its own: ``python -m striate.jobs.measure JSON`` prints the peak in bytes."""

import sys

from pydantic import TypeAdapter

from striate.costing.verify import measure_peak
from striate.jobs.programs import ModelProgram

if __name__ == "__main__":
    print(measure_peak(TypeAdapter(ModelProgram).validate_json(sys.argv[1]).build()))
