"""What one of two processes takes of a batch that they share, beside torch's own data parallel."""

import subprocess
import sys
from pathlib import Path

import pytest

from striate.jobs.cost import cost_of_model
from striate.jobs.networks import InputSpec
from striate.jobs.programs import ModelProgram, Settings

SCRIPT = Path(__file__).with_name("data_parallel.py")


@pytest.mark.parametrize(("model", "parts"), [("resnet18", 1), pytest.param("mobilenet_v2", 2, marks=pytest.mark.slow)])
def test_each_process_takes_what_is_predicted_for_it(tmp_path: Path, model: str, parts: int) -> None:
    settings = Settings(16, "training", micro_batches=parts)
    program = ModelProgram(model, (InputSpec((3, 64, 64)),), settings, 10).shared(2)
    assert program.settings.batch_size == 8
    predicted = cost_of_model(program).peak.size
    command = [sys.executable, str(SCRIPT)]
    meeting = tmp_path / "meeting"
    processes = [
        subprocess.Popen([*command, str(rank), str(meeting), model, str(parts)], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        measured = [int(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    assert measured == pytest.approx([predicted] * 2, rel=0.001)
