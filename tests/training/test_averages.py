from typing import Any

import pytest
import torch
from torch import nn

from striate.training.averages import Average


@pytest.mark.parametrize("average", ["none", "ema", "swa"])
def test_averages_are_what_they_say(average: Any) -> None:
    network = nn.Linear(1, 1, bias=False)
    averaged = Average(network, average, decay=0.9, start=0.75)
    values = [1.0, 4.0, -2.0]
    for value in values:
        network.weight.data.fill_(value)
        averaged.update(done=0.8)
    judged = averaged.network(list)
    if average == "none":
        assert judged is network
        return
    first, second = min(0.9, 2 / 11), min(0.9, 3 / 12)  # TensorFlow's (1 + n) / (10 + n), after 1 and 2 updates
    moving = second * (first * 1.0 + (1 - first) * 4.0) + (1 - second) * -2.0
    expected = sum(values) / 3 if average == "swa" else moving
    assert judged.get_parameter("weight").item() == pytest.approx(expected)


def test_a_moving_average_moves_batch_norms_statistics_along() -> None:
    network = nn.BatchNorm1d(1)
    averaged = Average(network, "ema", decay=0.9)
    for value in (1.0, 4.0, -2.0):
        network.get_buffer("running_mean").fill_(value)
        averaged.update(done=0.0)
    first, second = min(0.9, 2 / 11), min(0.9, 3 / 12)
    expected = second * (first * 1.0 + (1 - first) * 4.0) + (1 - second) * -2.0
    mean = averaged.network(list).get_buffer("running_mean")
    assert float(mean) == pytest.approx(expected)


def test_statistics_of_a_mean_of_weights_are_those_of_all_images() -> None:
    network = nn.BatchNorm1d(1)
    averaged = Average(network, "swa", start=0.5)
    averaged.update(done=0.4)
    assert averaged.is_awaited
    averaged.update(done=0.5)
    images = torch.tensor([[1.0], [2.0], [6.0]])
    assert float(averaged.network(lambda: [images]).get_buffer("running_mean")) == pytest.approx(3.0)
