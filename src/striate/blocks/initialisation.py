"""Random weights to begin with; all of it torch's own."""

from typing import Literal

from torch import nn


def initialise(network: nn.Module, rule: Literal["he", "xavier"]) -> None:
    """Draw the weights of every convolution and dense layer anew, and set their biases to zero.

    ``he`` draws from a normal distribution of variance 2 / fan-in (He et al., "Delving deep into rectifiers", 2015,
    equation 10), ``xavier`` of variance 2 / (fan-in + fan-out) (Glorot and Bengio, 2010, equation 12).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            if rule == "he":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def init_normal(layer: nn.Module, deviation: float) -> None:
    """Draw a layer's weights anew, with that deviation around 0, and set its biases to 0."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=deviation)
    nn.init.zeros_(layer.bias)
