import pytest
import torch
from torch import nn

from striate.data.preprocessing import Preprocessing
from striate.jobs.export import _compare, _to_onnx
from striate.weights import WeightsConfig

CONFIG = WeightsConfig(
    model="m", classes=("a", "b"), preprocessing=Preprocessing(image_size=(2, 2), mean=(0.5,), std=(0.5,))
)


def network(weight: float) -> nn.Module:
    layer = nn.Linear(4, 1)
    nn.init.constant_(layer.weight, weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), layer).eval()


@pytest.mark.parametrize("other", [1.01, 0.0, float("nan")])
def test_a_network_that_says_other_things_is_found_out_even_behind_a_large_number(other: float) -> None:
    batch = torch.rand(3, 1, 2, 2)
    data, _ = _to_onnx(network(1.0), batch, "numbers", CONFIG)
    assert _compare(data, network(1.0), batch, (1.0, 0.0)) < 1e-6
    assert not _compare(data, network(other), batch, (1.0, 0.0)) <= 1e-3
