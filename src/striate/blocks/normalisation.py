"""Normalisation: local responses as AlexNet did it, and batch norm that stays as it is."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def local_response_norm(maps: int, *, k: float, alpha: float, beta: float) -> nn.LocalResponseNorm:
    """Divide each value by what neighbouring maps say at the same place.

    b_i = a_i / (k + alpha · Σ a_j²)^beta, the sum over the ``maps`` maps around i that exist (Krizhevsky et al.,
    "ImageNet classification with deep convolutional neural networks", 2012, section 3.3). torch divides its alpha by
    the number of maps; the paper does not, and neither does this function.
    """
    return LocalResponseNorm(maps, alpha=alpha * maps, beta=beta, k=k)


class LocalResponseNorm(nn.LocalResponseNorm):
    """torch's, with sums in 32 bits where all is in 16: its CPU kernels have none of these."""

    def forward(self, x: Tensor) -> Tensor:
        """Divide each value by what its neighbours say."""
        if x.itemsize > 2 or torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        return super().forward(x.float()).to(x.dtype)


class FrozenBatchNorm2d(nn.Module):
    """Batch norm that uses its running statistics in training too, and never changes them.

    Weight and bias are trained as before. The names in its state are those of `torch.nn.BatchNorm2d`.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)
        self.train(norm.training)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """Return weight · (x - mean) / √(variance + eps) + bias, channel by channel."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def freeze_norms(network: nn.Module) -> None:
    """Put a `FrozenBatchNorm2d` in the place of every batch norm; parameters and statistics stay the same objects."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            network.set_submodule(name, FrozenBatchNorm2d(module))


def norms_are_folded(network: nn.Module) -> bool:
    """Tell whether every batch norm only adds its bias, the rest having been multiplied into the convolutions.

    A fresh network's batch norms add nothing, and so do not count as folded. Training with statistics of the batch
    would divide such a network's maps by deviations that its weights hold already, and so ruin it.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    return bool(norms) and all(map(_only_adds, norms)) and any(bool(norm.bias.any()) for norm in norms)


def _only_adds(norm: Any) -> bool:
    ones = torch.ones_like(norm.weight)
    # An epsilon apart, of 0.001 at most, and a rounding to 16 bits.
    return bool(
        norm.weight.equal(ones) and not norm.running_mean.any() and norm.running_var.allclose(ones, rtol=0, atol=2e-3)
    )
