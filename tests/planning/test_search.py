"""The search over micro-batches, 16-bit floats and recomputation, with every answer traced once more by itself."""

from dataclasses import replace

import pytest
from torch import nn

from planned import deep, search_of, training
from striate.costing.devices.cpu import cpu
from striate.costing.memory import find_peak, timeline
from striate.graph.trace import trace
from striate.planning.search import Candidate

BOTH = (None, "bfloat16")


def peak_of(network: nn.Module, found: Candidate, batch: int) -> int:
    """Trace the step that an answer describes."""
    program = training(network, batch, parts=found.parts, amp=found.amp_dtype)
    again = {again.place: again.operator for again in found.recompute}
    program = replace(program, recompute=again, optimizer_in_backward=found.optimizer_in_backward)
    return find_peak(timeline(trace(program), cpu())).size


def test_the_plain_step_is_taken_where_it_fits() -> None:
    network = deep()
    search = search_of(network)
    plain = search.variant(1).plain
    assert plain.peak == peak_of(network, plain, 8)
    found = search.variant(1).fastest(plain.peak)
    assert found == plain
    assert found.recompute == ()
    assert search.variant(1).fastest(plain.peak - 1) != plain


@pytest.mark.parametrize("share", [0.25, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("lossless", [True, False])
def test_what_is_found_fits_as_its_own_trace_says(share: float, lossless: bool) -> None:
    network = deep(6)
    search = search_of(network, 16)
    budget = int(share * search.variant(1).plain.peak)
    most_parts, amp_dtypes = (1, (None,)) if lossless else (16, BOTH)
    found = search.fastest(budget, most_parts=most_parts, amp_dtypes=amp_dtypes)
    closest = search.closest(most_parts=most_parts, amp_dtypes=amp_dtypes)
    assert closest.peak == peak_of(network, closest, 16)
    if found is None:
        assert closest.peak > budget
        return
    assert found.peak == peak_of(network, found, 16) <= budget
    if lossless:
        assert (found.parts, found.amp_dtype) == (1, None)
        early = search.variant(1, optimizer_in_backward=True).plain
        assert found.recompute or early.peak <= budget


def test_of_all_that_fit_the_fastest_is_taken() -> None:
    search = search_of(deep(6), 16)
    plain = search.variant(1).plain.peak
    for share in (0.3, 0.5, 0.7, 0.9):
        budget = int(share * plain)
        each = [search.variant(parts, amp).fastest(budget) for parts in (1, 2, 4, 8, 16) for amp in BOTH]
        each += [search.variant(1, amp, optimizer_in_backward=True).fastest(budget) for amp in BOTH]
        found = search.fastest(budget, most_parts=16, amp_dtypes=BOTH)
        assert found is not None
        least = min(candidate.seconds for candidate in each if candidate is not None)
        assert found.seconds == pytest.approx(least, rel=1e-9)  # Sums of the same terms, in another order.


def test_where_the_trace_goes_on_saying_more_it_aims_lower_rather_than_at_the_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it does where something that is not looked at, such as an operator's scratch, holds the peak up."""
    variant = search_of(deep(6), 16).variant(1)
    plain, least = variant.plain, variant.smallest()
    budget = (least.peak + plain.peak) // 2
    room = budget - least.peak

    def stubborn(aimed: int) -> Candidate:
        """Take longer the less there is, and more than the budget until that is missed by far."""
        seconds = plain.seconds + (least.seconds - plain.seconds) * (plain.peak - aimed) / (plain.peak - least.peak)
        return replace(plain, peak=aimed if aimed < budget - 0.3 * room else budget + room // 40, seconds=seconds)

    monkeypatch.setattr(variant, "_with_budget", stubborn)
    found = variant.fastest(budget)
    assert found is not None
    assert least.peak < found.peak <= budget
    assert found.seconds < least.seconds
    assert variant.fastest(budget + 1000) == found  # Known by now.


def test_what_is_not_allowed_is_not_taken() -> None:
    search = search_of(deep(6), 16)
    for share in (0.3, 0.5, 0.7):
        budget = int(share * search.variant(1).plain.peak)
        for most_parts, amp_dtypes in ((1, BOTH), (4, (None,)), (16, (None,))):
            found = search.fastest(budget, most_parts=most_parts, amp_dtypes=amp_dtypes)
            assert found is None or (found.parts <= most_parts and found.amp_dtype in amp_dtypes)


def test_micro_batches_of_batch_norm_have_more_than_a_single_value() -> None:
    """At the end it norms one value of each channel for each image: torch refuses to do that for one image."""
    normed = nn.Sequential(deep(2), nn.BatchNorm1d(5), nn.Linear(5, 5))
    search = search_of(normed, 4)
    assert search.in_most_parts(4).parts == 2
    assert search_of(deep(2), 4).in_most_parts(4).parts == 4
    closest = search.closest(most_parts=4, amp_dtypes=(None,))
    assert closest.parts == 2


@pytest.mark.parametrize(("batch", "counts", "parts"), [(7, (), [1, 2]), (8, (), [1, 2, 4]), (8, (7,), [1, 2])])
def test_no_part_is_a_lone_image_that_the_network_refuses(
    batch: int, counts: tuple[int, ...], parts: list[int]
) -> None:
    normed = nn.Sequential(deep(2), nn.BatchNorm1d(5), nn.Linear(5, 5))
    search = search_of(normed, batch)
    search.counts |= set(counts)
    assert list(dict.fromkeys(variant.parts for variant in search.variants(batch, None))) == parts


def test_more_parts_take_less_memory_and_more_time() -> None:
    search = search_of(deep(6), 16)
    plain = [search.variant(parts).plain for parts in (1, 2, 4, 8, 16)]
    peaks, seconds = [way.peak for way in plain], [way.seconds for way in plain]
    assert peaks == sorted(peaks, reverse=True)
    assert seconds == sorted(seconds)
    assert peaks[-1] < peaks[0] / 4
