"""What a user grants, the largest batch within it, and plans that keep to it when they run for real."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import striate
from measured import measured
from planned import deep
from striate.errors import UsageError
from striate.jobs.cost import cost_of_model
from striate.jobs.fits import largest_batch, what_fits
from striate.jobs.memory import find_budget, machine_bytes
from striate.jobs.plan import plan_of_model
from striate.jobs.programs import Settings, find_program


@given(st.integers(0, 1000), st.lists(st.integers(1, 50), min_size=40, max_size=40), st.integers(0, 2000))
def test_the_largest_batch_is_the_last_that_fits(constant: int, steps: list[int], limit: int) -> None:
    def peak(batch: int) -> int:
        return constant + sum(steps[:batch]) + 10_000 * max(0, batch - len(steps))

    for first in (1, 2):
        brute = max((size for size in range(first, 60) if peak(size) <= limit), default=0)
        assert largest_batch(peak, limit, first) == brute


def test_few_sizes_are_tried_where_a_peak_is_a_straight_line() -> None:
    tried: list[int] = []

    def peak(batch: int) -> int:
        tried.append(batch)
        return 5_000 + 7 * batch

    assert largest_batch(peak, 12_000) == 1000
    assert len(tried) < 16


def test_budgets_are_bytes_or_a_share_of_what_there_is() -> None:
    there = machine_bytes()
    assert find_budget("4MiB") == find_budget(4 * 2**20) == 4 * 2**20
    assert find_budget("25%") == round(there / 4)
    assert find_budget("50%", "rtx3060") == 6 * 2**30
    assert find_budget(None, "12GiB") == 12 * 2**30


@pytest.mark.parametrize("memory", ["4G", "0", "-1GB", "much", "0%", "120%", "9000GiB", None])
def test_other_budgets_are_refused(memory: str | None) -> None:
    with pytest.raises(UsageError):
        find_budget(memory)


@pytest.mark.slow
def test_what_fits_begins_with_a_batch_that_the_network_takes() -> None:
    """On 32 pixels its last map has one place, of which a single image gives batch norm no statistics."""
    program = find_program("resnet18", Settings(1, "training"), image_size=(32, 32), num_classes=10)
    plain, early, again, both = what_fits(program, "200MB", lossless=True)
    assert [plain.name, early.name, again.name] == ["plain", "gradients freed early", "recomputation"]
    assert 2 <= plain.batch_size < min(early.batch_size, again.batch_size)
    assert max(early.batch_size, again.batch_size) < both.batch_size
    assert again.relative_time > 0
    largest = find_program("resnet18", Settings(plain.batch_size, "training"), image_size=(32, 32), num_classes=10)
    peak = cost_of_model(largest).peak.size
    assert peak == plain.peak_bytes <= 200_000_000 / 1.02 < peak * (plain.batch_size + 1) / plain.batch_size
    none, *_ = what_fits(program, "20MB", lossless=True)
    assert none.batch_size == 0


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_16_bit_floats_are_a_remedy_of_32_bit_ones_alone(dtype: Literal["float32", "bfloat16"]) -> None:
    program = find_program("lenet5", Settings(1, "training", dtype=dtype))
    assert len(list(what_fits(program, "4MB"))) == (5 if dtype == "float32" else 4)


@pytest.mark.parametrize(
    ("model", "batch", "share", "lossless"),
    [
        pytest.param("squeezenet1_0", 8, 0.7, True, marks=pytest.mark.slow),
        ("strided_cnn_28", 32, 0.75, True),
        pytest.param("squeezenet1_0", 4, 0.7, False, marks=pytest.mark.slow),
        pytest.param("resnet18", 8, 0.95, True, marks=pytest.mark.slow),
    ],
)
def test_a_plan_takes_what_it_says(model: str, batch: int, share: float, lossless: bool) -> None:
    program = find_program(model, Settings(batch, "training"), image_size=(64, 64), num_classes=10)
    budget = int(cost_of_model(program).peak.size * share)
    plan = plan_of_model(program, budget, lossless=lossless, frontier=False)
    assert plan.fits
    taken = measured(program.planned(plan))
    assert taken <= budget
    assert plan.peak_bytes == pytest.approx(taken, rel=0.005)


@pytest.mark.slow
def test_devices_share_a_batch() -> None:
    program = find_program("squeezenet1_0", Settings(15, "training"), image_size=(64, 64), num_classes=10)
    alone, one = (plan_of_model(program, "1GB", frontier=False, devices=devices) for devices in (1, 2))
    assert (one.devices, one.batch_size, one.accumulate) == (2, 8, 1)
    assert one.plain_bytes == alone.plain_bytes == alone.peak_bytes
    assert not one.optimizer_in_backward
    small = find_program("squeezenet1_0", Settings(8, "training"), image_size=(64, 64), num_classes=10)
    gradients = 4 * cost_of_model(small).parameters
    assert cost_of_model(small).peak.size < one.peak_bytes <= cost_of_model(small).peak.size + gradients
    assert one.relative_time < alone.relative_time == 1
    assert one.remedies[0].name == "2 devices"
    assert one.remedies[0].peak_bytes == one.peak_bytes
    assert "8 images on each of 2 devices" in one.in_words()
    with pytest.raises(UsageError, match="1 to 15 devices"):
        plan_of_model(program, "1GB", devices=16)


def test_64_bit_networks_have_no_plan_in_16_bits() -> None:
    plan = striate.plan(deep(2).double(), (3, 16, 16), batch_size=4, memory="20kB", frontier=False)
    assert (plan.dtype, plan.amp_dtype) == ("float64", None)
