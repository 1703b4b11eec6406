"""Where a run computes: its device, its processes and its precision, through Lightning Fabric.

On a CUDA card, torch's own choice stands for 32-bit floats: convolutions may round what they multiply to 19 bits
(TensorFloat-32), products of matrices do not. ``torch.set_float32_matmul_precision("high")`` lets these, too.
"""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from striate.planning.apply import FORWARDS
from striate.training.config import TrainConfig
from striate.training.group import Group, local_size
from striate.training.task import Batch


class Autocast(MixedPrecision):
    """Fabric's precision, but for the cast of a network's inputs that it puts before the first operator.

    What was predicted and planned is the step as autocast takes it; with that cast it would have other operators.
    """

    def convert_input(self, data: Any) -> Any:
        """Leave inputs as they are: the first operator that is safe in 16 bits casts them."""
        return data


def make_fabric(config: TrainConfig, group: Group) -> Fabric:
    """Return Fabric for the device, the processes and the precision asked for."""
    options: dict[str, Any] = {"accelerator": config.device, "devices": 1}
    if group.size > 1:
        local = local_size()
        # Gradients are views of what is added up, so that they are not there twice.
        strategy = DDPStrategy(gradient_as_bucket_view=True)
        options |= {"devices": local, "num_nodes": group.size // local, "strategy": strategy}
    if config.amp:
        precision: Any = {"bfloat16": "bf16-mixed", "float16": "16-mixed"}[config.amp_dtype]
        options["plugins"] = Autocast(precision, config.device)
    else:
        options["precision"] = "32-true"
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)  # It advises another choice.
    fabric = Fabric(**options)
    if group.size > 1:
        fabric.launch()
    return fabric


class Machine:
    """A run's device, processes and precision.

    Args:
        config: of the run.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.group = Group.join(config.device)
        self._fabric = make_fabric(config, self.group)
        self._compiles, self._syncs = config.compile, config.sync_bn
        self.device = self._fabric.device
        self._dtype: torch.dtype = getattr(torch, config.dtype)
        self._layout = torch.channels_last if config.channels_last else torch.contiguous_format

    def place(self, network: nn.Module) -> nn.Module:
        """Return the network on the device, in the run's memory layout and type."""
        if self._syncs:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        placed: nn.Module = network.to(device=self.device, memory_format=self._layout)  # type: ignore[call-overload]
        return placed if self._dtype == torch.float32 else placed.to(self._dtype)

    def move(self, batch: Batch) -> Batch:
        """Return a batch on the device, its images in the run's memory layout and type."""
        return batch.to(self.device, self._layout, self._dtype)

    def learner(self, network: nn.Module) -> Any:
        """Return what learns: the network, whose gradients are added up over all processes, compiled if asked for."""
        compiled: Any = torch.compile(network) if self._compiles else network
        model = self._fabric.setup_module(compiled)
        for method in FORWARDS[1:]:
            if hasattr(network, method):
                model.mark_forward_method(method)
        return model

    def optimizer(self, optimizer: Optimizer) -> Any:
        """Return an optimizer that knows of the precision."""
        return self._fabric.setup_optimizers(optimizer)

    def seed(self, value: int) -> None:
        """Begin the random numbers of the run's device anew."""
        # `torch.manual_seed` seeds all kinds of devices, and keeps a stack trace of each call for those never used.
        torch.default_generator.manual_seed(value)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(value)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context in which a network computes."""
        return self._fabric.autocast()

    def part(self, model: Any, is_last: bool) -> AbstractContextManager[None]:
        """Return the context for one part of a batch; processes add up gradients after the last one only."""
        return nullcontext() if is_last or self.group.size == 1 else self._fabric.no_backward_sync(model)

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""
        self._fabric.backward(loss)

    def clip(self, model: Any, optimizer: Any, limit: float) -> None:
        """Scale all gradients together down to a norm."""
        self._fabric.clip_gradients(model, optimizer, max_norm=limit, error_if_nonfinite=False)

    def state(self) -> dict[str, Any]:
        """Return what the precision remembers from step to step."""
        return self._fabric.strategy.precision.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self._fabric.strategy.precision.load_state_dict(state)

    def forget_step(self) -> None:
        """Forget a step that was cut short: whether its gradients have been scaled back already."""
        precision = self._fabric.strategy.precision
        if isinstance(precision, MixedPrecision) and precision.scaler is not None:
            precision.scaler = torch.amp.GradScaler(self.device.type)
