"""A network made ready for prediction alone: batch norm multiplied into convolutions, maps laid out to be fast."""

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

FEWEST = 16  # Channels of the first map; fewer leave vector units idle that go along the channels.


def make_ready(network: nn.Module) -> torch.memory_format:
    """Fold a network's norms, and lay out its kernels as they are fastest.

    Args:
        network: changed in place, and put into evaluation mode; it gives the same but for rounding.

    Returns:
        How images have to be laid out. With few channels, values of one channel lie side by side; otherwise the
        channels of one place.
    """
    fold_norms(network)
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    layout = torch.contiguous_format if first is None or first.out_channels < FEWEST else torch.channels_last
    network.to(memory_format=layout)  # type: ignore[call-overload]
    return layout


def fold_norms(network: nn.Module) -> int:
    """Multiply what batch norms do with fixed statistics into the convolutions that they follow directly.

    The network then has fewer operators and maps, and gives the same but for rounding; it is no longer to be trained.

    Args:
        network: changed in place, and put into evaluation mode. Looked at are the children of each `nn.Sequential`;
            what is put together by code of its own stays as it is.

    Returns:
        How many were folded.
    """
    network.eval()
    folded = 0
    for row in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for (_, conv), (name, norm) in pairwise(list(row.named_children())):
            if isinstance(conv, nn.Conv2d) and _is_fixed_norm(norm):
                fixed: Any = norm
                with torch.no_grad():
                    conv.weight, conv.bias = fuse_conv_bn_weights(
                        *(conv.weight, conv.bias, fixed.running_mean, fixed.running_var),
                        *(fixed.eps, fixed.weight, fixed.bias),
                    )
                setattr(row, name, nn.Identity())
                folded += 1
    return folded


def _is_fixed_norm(module: Any) -> bool:
    """Tell whether a module is a batch norm, also one that is frozen, with statistics of its own."""
    if not isinstance(module, nn.Module) or not hasattr(module, "eps"):
        return False
    return isinstance(getattr(module, "running_mean", None), torch.Tensor)
