"""Smaller networks and images in place of what does not fit, and only where they are allowed."""

import pytest

from striate.errors import UsageError
from striate.jobs.cost import cost_of_model
from striate.jobs.plan import plan_of_model
from striate.jobs.programs import ModelProgram, Settings, find_program
from striate.jobs.variations import variations

KINDS = ("stride", "image-size", "layers")


def program(model: str = "resnet34", side: int = 64) -> ModelProgram:
    return find_program(model, Settings(4, "training"), image_size=(side, side), num_classes=10)


def test_images_shrink_in_steps_and_networks_along_their_family() -> None:
    found = [(one.name, one.changes) for one in variations(program("resnet101"), KINDS)]
    sides = [f"images of {side}x{side}" for side in (56, 48, 40, 32)]
    smaller = [f"{name} in its place" for name in ("resnet50", "resnet34", "resnet18")]
    assert found == [("first stride of 4", "larger stride")] + [(name, "smaller images") for name in sides] + [
        (name, "another network") for name in smaller
    ]
    assert list(variations(program(), ())) == []
    assert [one.program.model for one in variations(program(), ("layers",))] == ["resnet18"]
    odd = find_program("mlp", Settings(4, "training"))
    assert list(variations(odd, ("layers",))) == []
    with pytest.raises(UsageError, match="Did you mean layers"):
        list(variations(program(), ("layer",)))


def test_none_is_taken_where_the_network_has_a_plan() -> None:
    plan = plan_of_model(program("lenet5", 32), "1GB", lossless=True, frontier=False, allow=KINDS)
    assert plan.fits
    assert plan.variation == ""
    assert [remedy.name for remedy in plan.remedies][-1] == "lenet5_28 in its place"


@pytest.mark.slow
def test_of_those_that_fit_the_one_is_taken_that_takes_most() -> None:
    budget = 200_000_000  # The weights, gradients and momentum of resnet34 alone take 256 MB.
    plan = plan_of_model(program(), budget, lossless=True, frontier=False, allow=KINDS)
    assert plan.fits
    assert plan.variation == "resnet18 in its place"
    assert plan.in_words().startswith("resnet18 in its place, 4 images")
    assert plan.relative_time < 1
    assert plan.plain_bytes == cost_of_model(program()).peak.size > budget
    other = cost_of_model(program("resnet18")).peak.size
    assert plan.peak_bytes == other <= budget
    taken = {remedy.name: remedy.peak_bytes for remedy in plan.remedies}
    assert taken["resnet18 in its place"] == other
    assert taken["images of 48x48"] > budget
