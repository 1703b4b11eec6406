"""Images through a network, batch by batch, to what it says of them."""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from striate.results import Classes, Number


def outputs_of(network: nn.Module, batches: Iterable[Float32[Tensor, "_ C H W"]]) -> Iterator[Float[Tensor, "_ K"]]:
    """Yield a network's outputs for each batch of preprocessed images; the network is in evaluation mode."""
    for batch in batches:
        with torch.inference_mode():
            outputs = network(batch)
        yield outputs.clone()  # Outside, where others may need gradients of what they make of it.


def to_classes(logits: Float[Tensor, "N K"], classes: tuple[str, ...]) -> list[Classes]:
    """Return each image's probabilities: the softmax of its logits, one for each of ``classes``."""
    return [Classes(classes, tuple(row)) for row in logits.double().softmax(1).tolist()]


def to_numbers(outputs: Float[Tensor, "N 1"], scale: tuple[float, float]) -> list[Number]:
    """Return each image's number: the one output times ``scale[0]``, plus ``scale[1]``."""
    return [Number(value) for value in (outputs.double()[:, 0] * scale[0] + scale[1]).tolist()]
