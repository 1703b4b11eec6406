"""Lightning Fabric for a run's device, with 16-bit floats as `torch.autocast` alone has them."""

from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision

from striate.training.config import TrainConfig


class Autocast(MixedPrecision):
    """Fabric's precision, but for the cast of a network's inputs that it puts before the first operator.

    What was predicted and planned is the step as autocast takes it; with that cast it would have other operators.
    """

    def convert_input(self, data: Any) -> Any:
        """Leave inputs as they are: the first operator that is safe in 16 bits casts them."""
        return data


def make_fabric(config: TrainConfig) -> Fabric:
    """Return Fabric for the device and the precision asked for."""
    if not config.amp:
        return Fabric(accelerator=config.device, devices=1, precision="32-true")
    precision: Any = {"bfloat16": "bf16-mixed", "float16": "16-mixed"}[config.amp_dtype]
    return Fabric(accelerator=config.device, devices=1, plugins=Autocast(precision, config.device))


def forget_step(fabric: Fabric) -> None:
    """Forget a step that was cut short: whether its gradients have been scaled back already."""
    precision = fabric.strategy.precision
    if isinstance(precision, MixedPrecision) and precision.scaler is not None:
        precision.scaler = torch.amp.GradScaler(fabric.device.type)
