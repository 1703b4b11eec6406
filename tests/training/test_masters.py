"""Master weights: 16-bit networks whose optimizer works on 32 bits."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from measured import measured
from planned import gradients_of
from striate.errors import UsageError
from striate.files import load_tensors
from striate.graph.updates import update_early
from striate.jobs.cost import cost_of_model
from striate.jobs.networks import InputSpec
from striate.jobs.programs import ModelProgram, Settings
from striate.jobs.train import Finished, Started, train
from striate.training.config import OptimizerName, TrainConfig
from striate.training.folder import RunFolder
from striate.training.optimizers import build_optimizer
from striate.training.records import PeakRecord
from striate.zoo import load_network


@pytest.mark.parametrize("opt", ["sgd", "momentum", "adam", "nadam"])
@pytest.mark.parametrize("early", [False, True])
def test_the_steps_are_those_of_a_32_bit_network_given_the_same_gradients(opt: OptimizerName, early: bool) -> None:
    torch.manual_seed(0)
    low = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).bfloat16()
    high = copy.deepcopy(low).float()
    theirs = build_optimizer(high, opt, 1e-3)
    ours = build_optimizer(low, opt, 1e-3, master_weights=True)
    gradients = gradients_of(low)
    if early:
        update_early(ours)
    for step in range(6):
        if step == 3:
            ours.load_state_dict(copy.deepcopy(ours.state_dict()))
        torch.autograd.backward(low(torch.randn(4, 8).bfloat16()).float().square().mean())
        ours.step()
        for name, parameter in high.named_parameters():
            parameter.grad = gradients[name].float()
        theirs.step()
        for parameter, twin in zip(low.parameters(), high.parameters(), strict=True):
            assert parameter.dtype is torch.bfloat16
            assert parameter.grad is None
            assert torch.equal(ours.state[parameter]["master"], twin)
            assert torch.equal(parameter, twin.bfloat16())
    small = [p for p in low.parameters() if not torch.equal(ours.state[p]["master"], p.float())]
    assert small  # 16 bits do not hold all that was learned.


@pytest.mark.parametrize(
    ("opt", "masters", "bytes_a_weight"), [("adam", True, 16), pytest.param("adam", False, 8, marks=pytest.mark.slow)]
)
def test_the_predicted_peak_is_the_measured_one(opt: OptimizerName, masters: bool, bytes_a_weight: int) -> None:
    settings = Settings(4, "training", opt, "bfloat16", master_weights=masters)
    program = ModelProgram("mnist_cnn", (InputSpec((1, 28, 28)),), settings, 10)
    cost = cost_of_model(program)
    assert cost.peak.size > bytes_a_weight * cost.parameters  # Weights, gradients, two means, and masters.
    assert cost.peak.size == pytest.approx(measured(program), rel=0.001)


def test_a_run_in_16_bits_stays_within_its_budget_and_can_be_used(tmp_path: Path) -> None:
    values = {"data": "digits", "model": "lenet5", "epochs": 2, "opt": "momentum", "output": str(tmp_path / "run")}
    config = TrainConfig.model_validate(
        values | {"dtype": "bfloat16", "master_weights": True, "memory": "2.6MB", "lossless": True}
    )
    started, *between, finished = train(config)
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert started.plan is not None
    assert started.plan.dtype == "bfloat16"
    assert started.plan.peak_bytes < started.plan.plain_bytes
    peaks = {record.phase: record for record in between if isinstance(record, PeakRecord)}
    # The data come in 32 bits and become 16 outside the step.
    assert peaks["training"].measured == pytest.approx(peaks["training"].predicted, rel=0.02)
    assert all(peak.measured <= peak.budget for peak in peaks.values())
    kept = load_tensors(RunFolder(tmp_path / "run").last / "model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    assert finished.metrics["accuracy"] > 0.5
    network, _ = load_network(tmp_path / "run")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_what_does_not_go_together_is_refused() -> None:
    for options, part in (
        ({"master_weights": True}, "--master-weights with --dtype bfloat16"),
        ({"dtype": "bfloat16", "amp": True}, "without --amp"),
        ({"dtype": "bfloat16", "average": "ema"}, "received average ema"),
    ):
        with pytest.raises(UsageError, match=part):
            TrainConfig.model_validate({"data": "digits", "model": "lenet5", **options})
    with pytest.raises(UsageError, match="an optimizer and 16-bit weights"):
        Settings(1, "training", master_weights=True)
