"""Predicted against measured peaks on a CUDA card, each measured in a process of its own."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from striate.costing.devices.cuda import CARDS
from striate.jobs.cost import cost_of_model
from striate.jobs.plan import plan_of_model
from striate.jobs.programs import ModelProgram, Settings, find_program
from striate.zoo import ZOO

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("card")]


def card_here() -> str:
    """Return the card by the name that it has in the table, or else by its memory."""
    name = torch.cuda.get_device_name().lower().split()
    memory = str(torch.cuda.get_device_properties(0).total_memory)
    return next((known for known in CARDS if known in name), memory)


def of_zoo(model: str, *settings: Any, size: tuple[int, int] | None = None, **options: Any) -> ModelProgram:
    chosen = Settings(*settings[:3], **options.pop("settings", {}))
    program = find_program(model, chosen, image_size=size or ZOO[model].image_size, num_classes=10)
    return replace(program, options=options)


@pytest.mark.parametrize(
    "program",
    [
        of_zoo("resnet18", 32, "training", "momentum"),
        of_zoo("resnet18", 32, "training", "momentum", settings={"amp_dtype": "bfloat16"}),
        of_zoo("resnet18", 8, "inference"),
        of_zoo("faster_rcnn", 4, "training", "adamw", size=(360, 480), pyramid=True),
        of_zoo("mask_rcnn", 2, "training", "momentum", size=(320, 352)),
    ],
    ids=str,
)
def test_a_peak_is_the_one_predicted(program: ModelProgram) -> None:
    predicted = cost_of_model(program, card_here()).peak.size
    assert predicted == pytest.approx(program.measure(predicted, card_here()), rel=0.03)


def test_a_planned_step_takes_what_was_planned() -> None:
    program = of_zoo("resnet18", 32, "training", "momentum")
    plain = cost_of_model(program, card_here()).peak.size
    plan = plan_of_model(program, str(int(0.75 * plain)), gpu=card_here(), lossless=True, frontier=False)
    assert plan.fits
    assert plan.recompute
    measured = program.planned(plan).measure(plan.peak_bytes, card_here())
    assert measured <= plan.budget_bytes
    assert plan.peak_bytes == pytest.approx(measured, rel=0.03)
