"""Learning on from weights that have learned already: which layers learn, and how fast each does."""

from collections.abc import Mapping, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def rate_scales(network: nn.Module, head: Sequence[str], decay: float) -> Mapping[nn.Parameter, float]:
    """Return the factor of each parameter's learning rate.

    It is ``decay`` to the power of how many children lie between a parameter and the head, the children being those of
    the network's parts, such as ``features.stage2``, in their order (Clark et al., "ELECTRA", 2020, section 3.2, which
    gave each layer of a network such a rate).

    Args:
        network: to be trained.
        head: names of the layers behind what has learned already; they have a factor of 1.
        decay: from one child to that before.
    """
    children: dict[str, int] = {}
    own = tuple(f"{layer}." for layer in head)
    named = list(network.named_parameters())
    for name, _ in named:
        children.setdefault(_child(name), len(children))
    last = min((children[_child(name)] for name, _ in named if name.startswith(own)), default=len(children) - 1)
    return {parameter: decay ** max(last - children[_child(name)], 0) for name, parameter in named}


def _child(name: str) -> str:
    return ".".join(name.split(".")[:2])


def freeze_body(network: nn.Module, head: Sequence[str], frozen: bool) -> None:
    """Have only the head learn, or all of the network again.

    Args:
        network: changed in place.
        head: names of the layers that go on learning.
        frozen: whether all others keep their weights. Those that learn by no gradient, which a network may name in
            ``unlearned``, do so in any case.
    """
    still = getattr(network, "unlearned", ())
    for name, parameter in network.named_parameters():
        learns = not frozen or name.startswith(tuple(f"{layer}." for layer in head))
        parameter.requires_grad_(learns and not name.startswith(tuple(f"{layer}." for layer in still)))


def hold_statistics(network: nn.Module) -> None:
    """Let batch norms normalise as at prediction, and keep their statistics, until ``network.train()`` is called."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
