"""Measure one program in a process of its own: ``python -m striate.jobs.measure JSON cpu|cuda`` prints its peak."""

import sys

import torch
from pydantic import TypeAdapter

from striate.costing.verify import measure_peak
from striate.jobs.programs import ModelProgram

if __name__ == "__main__":
    described, device = sys.argv[1:]
    with torch.device(device):
        program = TypeAdapter(ModelProgram).validate_json(described).build(foreach=device == "cuda")
    print(measure_peak(program, device))
