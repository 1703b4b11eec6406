"""Plans in a plain PyTorch loop, on networks of the zoo and others."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import striate
from planned import deep, gradients_of, plan_with, recomputed, same
from striate.errors import StriateError, UsageError
from striate.planning.apply import apply_plan, micro_batches
from striate.planning.plan import Plan, Point, Remedy, read_plan


def learned(network: nn.Module, images: Tensor, labels: Tensor, plan: Plan | None = None) -> dict[str, Tensor]:
    """Take two steps as a plain loop does, with a plan if there is one; return gradients, weights and buffers."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    gradients = gradients_of(network)
    if plan is not None:
        apply_plan(plan, network, optimizer)
    torch.manual_seed(1)
    for _ in range(2):
        optimizer.zero_grad()
        loss: Tensor = F.cross_entropy(network(images), labels)
        torch.autograd.backward(loss)
        optimizer.step()
    return {f"gradient of {name}": gradient for name, gradient in gradients.items()} | network.state_dict()


@pytest.mark.parametrize(
    ("name", "channels_last"), [("seresnet18", True), pytest.param("mobilenet_v2", False, marks=pytest.mark.slow)]
)
def test_two_steps_of_a_lossless_plan_are_the_plain_ones(name: str, channels_last: bool) -> None:
    torch.manual_seed(0)
    network = striate.create_model(name, num_classes=10, image_size=(48, 48))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    images, labels = torch.randn(8, 3, 48, 48).contiguous(memory_format=layout), torch.arange(8) % 10

    plan = striate.plan(  # Nothing fits a byte; it comes as close as it can.
        network, (3, 48, 48), batch_size=8, memory=1, channels_last=channels_last, lossless=True, frontier=False
    )
    assert plan.recompute
    assert plan.optimizer_in_backward
    assert (plan.accumulate, plan.amp_dtype) == (1, None)
    plain = learned(copy.deepcopy(network), images, labels)
    assert same(plain, learned(copy.deepcopy(network), images, labels, plan))
    with pytest.raises(UsageError, match="expected the optimizer too"):
        apply_plan(plan, network)
    with pytest.raises(UsageError, match="a batch of 8 or fewer"):
        next(micro_batches(plan, (torch.ones(9), torch.ones(9))))


def test_evaluation_runs_as_before_and_the_network_is_still_its_own_class() -> None:
    torch.manual_seed(0)
    network, images = deep(2), torch.randn(2, 3, 16, 16)
    wrong = plan_with(recompute=recomputed({0: "aten.no_such_operator.default"}))
    plain = network.eval()(images)
    names = list(network.state_dict())
    applied = apply_plan(wrong, network)
    assert applied is network
    assert isinstance(network, nn.Sequential)
    assert list(network.state_dict()) == names
    assert torch.equal(network(images), plain)
    with pytest.raises(StriateError, match="aten.no_such_operator.default as operator 0"):
        network.train()(images)
    with torch.no_grad():
        network(images)
    apply_plan(plan_with(), network)  # The last plan counts.
    network(images)


def test_a_plan_sets_the_memory_layout() -> None:
    network = deep(2)
    for channels_last, layout in ((True, torch.channels_last), (False, torch.contiguous_format)):
        apply_plan(plan_with(channels_last=channels_last), network)
        kernels = [parameter for parameter in network.parameters() if parameter.ndim == 4]
        assert all(kernel.is_contiguous(memory_format=layout) for kernel in kernels)


def test_copies_and_pickles_follow_the_plan() -> None:
    network = apply_plan(plan_with(recompute=recomputed({0: "aten.no_such_operator.default"})), deep(2))
    images = torch.randn(2, 3, 16, 16)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert type(twin) is type(network)
        assert same(dict(twin.state_dict()), dict(network.state_dict()))
        with pytest.raises(StriateError, match="no_such_operator"):
            twin(images)
        apply_plan(plan_with(), twin)(images)


def in_parts(batch: int, parts: int) -> Plan:
    return plan_with(batch_size=batch, accumulate=parts, micro_batch=-(-batch // parts))


@given(st.data())
def test_parts_hold_each_image_once_and_none_is_too_large(data: st.DataObject) -> None:
    batch = data.draw(st.integers(1, 60))
    plan = in_parts(batch, data.draw(st.integers(1, batch)))
    count = data.draw(st.integers(1, batch))  # The last batch of an epoch may be shorter.
    images, labels = torch.arange(count), torch.arange(count) * 10
    parts = list(micro_batches(plan, (images, labels)))
    assert torch.equal(torch.cat([part[0] for _, part in parts]), images)
    assert torch.equal(torch.cat([part[1] for _, part in parts]), labels)
    assert all(0 < len(part[0]) <= plan.micro_batch for _, part in parts)
    assert [share for share, _ in parts] == pytest.approx([len(part[0]) / count for _, part in parts])
    assert sum(share for share, _ in parts) == pytest.approx(1)
    assert len(parts) == plan.accumulate or count < batch


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7])
def test_gradients_of_the_parts_add_up_to_those_of_the_batch(parts: int) -> None:
    torch.manual_seed(0)
    network = deep(3, normed=False).double()
    images, labels = torch.randn(7, 3, 16, 16, dtype=torch.float64), torch.arange(7) % 5
    loss: Tensor = F.cross_entropy(network(images), labels)
    whole = torch.autograd.grad(loss, list(network.parameters()))
    total = 0.0
    for share, (some, theirs) in micro_batches(in_parts(7, parts), (images, labels)):
        part: Tensor = F.cross_entropy(network(some), theirs) * share
        torch.autograd.backward(part)
        total += part.item()
    assert total == pytest.approx(loss.item(), rel=1e-12)
    for parameter, gradient in zip(network.parameters(), whole, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-10, atol=1e-14)


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = plan_with(
        recompute=recomputed({3: "aten.relu.default"}),
        remedies=(Remedy("recomputation", 5, 1.25, ""),),
        frontier=(Point(7, 1.0, 2, 0), Point(5, 1.25, 2, 9)),
        amp_dtype="bfloat16",
    )
    plan.save(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan
    for text in ("", "{}", plan.to_json().replace("batch_size", "size"), plan.to_json().replace("16", "8")):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(UsageError, match="as `striate plan --json` prints it"):
            read_plan(tmp_path / "other.json")


@pytest.mark.parametrize("batch", [(), (torch.ones(3, 2), torch.ones(4)), torch.ones(4, 2)])
def test_tensors_of_different_lengths_are_no_batch(batch: Any) -> None:
    with pytest.raises(UsageError, match="whose first sides are alike"):
        next(micro_batches(plan_with(), batch))
