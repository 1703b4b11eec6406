"""Batch norm's statistics, gathered by hand, and the weights that they belong to."""

from collections.abc import Generator, Iterator
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.jobs.experiments import batchnorm
from striate.jobs.experiments.batchnorm import Trained, by_its_batch, gathered_anew, norms, record, small_network, train
from striate.jobs.experiments.fitting import read_small
from striate.jobs.experiments.outcome import Outcome, Trying


def by_hand(network: nn.Module, batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of what the first norm sees, the mean over batches."""
    first = network.get_submodule("0")
    assert isinstance(first, nn.Conv2d)
    with torch.no_grad():
        seen = [F.conv2d(batch, first.weight, first.bias, padding=1).transpose(0, 1).flatten(1) for batch in batches]
    return torch.stack([each.mean(1) for each in seen]).mean(0), torch.stack([each.var(1) for each in seen]).mean(0)


def test_a_network_is_judged_by_the_batch_as_it_is_trained() -> None:
    torch.manual_seed(0)
    network = small_network(10, norm=True)
    images = torch.randn(6, 1, 8, 8)
    network(images)
    expected = deepcopy(network).train()(images)
    own = by_its_batch(network).eval()
    torch.testing.assert_close(own(images), expected)
    assert (own(images[:3]) - expected[:3]).abs().max() > 0.01
    assert all(norm.running_mean is not None for norm in norms(network))


def test_all_batches_of_a_training_are_recorded_and_no_others() -> None:
    torch.manual_seed(0)
    network = small_network(10, norm=True)
    batches = [torch.randn(4, 1, 8, 8) * scale for scale in (1, 2, 3)]
    twins, end = record(network)
    for batch in batches:
        network.train()(batch)
        network.eval()(torch.randn(4, 1, 8, 8))
    end()
    network.train()(100 * batches[0])
    mean, variance = by_hand(network, batches)
    torch.testing.assert_close(twins[0].running_mean, mean)
    torch.testing.assert_close(twins[0].running_var, variance)
    copy = batchnorm.with_statistics(network, twins)
    assert torch.equal(norms(copy)[0].running_mean, twins[0].running_mean)  # type: ignore[arg-type]


def test_statistics_are_gathered_anew_from_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchnorm, "BATCH", 4)
    torch.manual_seed(0)
    network = small_network(10, norm=True)
    images = torch.randn(10, 1, 8, 8)
    network(images)
    kept = deepcopy(network.state_dict())
    anew = norms(gathered_anew(network, images))[0]
    mean, variance = by_hand(network, [images[:4], images[4:8], images[8:]])
    torch.testing.assert_close(anew.running_mean, mean)
    torch.testing.assert_close(anew.running_var, variance)
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())


def test_averages_are_those_of_the_weights_that_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchnorm, "EPOCHS", 3)
    given = read_small("digits", 8, 0, 64)
    torch.manual_seed(0)
    network = small_network(10, norm=True)
    weight = network.get_submodule("0").get_parameter("weight")
    begin = weight.detach().clone()
    seen: list[Tensor] = []
    left: list[Trained] = []

    def keep(training: Generator[Trying, None, tuple[Trained, list[tuple[float, float]]]]) -> Iterator[Trying]:
        trained, _ = yield from training
        left.append(trained)

    for _ in keep(train(network, given, 0.1, 0, (0, 1))):
        seen.append(weight.detach().clone())  # noqa: PERF401
    assert len(seen) == 6
    trained = left[0]
    mean = trained.mean.get_submodule("0").get_parameter("weight")
    torch.testing.assert_close(mean.detach(), torch.stack(seen[3:]).mean(0))
    # The decay of step n is (1 + n) / (10 + n) at most, and the average begins as the first weights.
    moving = seen[0]
    for n, each in enumerate(seen[1:], 1):
        decay = min(batchnorm.DECAY, (1 + n) / (10 + n))
        moving = decay * moving + (1 - decay) * each
    torch.testing.assert_close(trained.moving.get_submodule("0").get_parameter("weight").detach(), moving)
    assert not torch.equal(begin, seen[0])
    assert not any(norm._forward_pre_hooks for norm in norms(network))


def test_images_of_one_class_are_no_batch_to_judge_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchnorm, "EPOCHS", 3)
    *steps, found = batchnorm.compare_batchnorm()
    assert len(steps) == 4 * 3 * 32
    assert isinstance(found, Outcome)
    rows = {str(row[0]): [float(str(cell).removesuffix("%")) for cell in row[1:]] for row in found.rows}
    assert len(rows) == len(batchnorm.SIZES) + 8
    for column in (0, 2):
        companions = rows["last: of its batch of 64"][column]
        assert companions > 85
        assert rows["last: of its batch, all of one class"][column] < companions - 30
        assert rows["last: of its batch of 2"][column] < companions - 5
        assert abs(rows["last: gathered anew"][column] - companions) < 4
    large = {name: points[-1][1] for name, points in found.charts[0].curves.items() if "0.5" in name}
    assert large["with batch norm, rate 0.5"] < large["without batch norm, rate 0.5"] / 3
