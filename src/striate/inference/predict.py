"""Images through a network, batch by batch, to probabilities."""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from striate.results import Classes


def classify(
    network: nn.Module, batches: Iterable[Float32[Tensor, "_ C H W"]], classes: tuple[str, ...]
) -> Iterator[Classes]:
    """Yield each image's probabilities, in order.

    Args:
        network: in evaluation mode, with one logit for each of ``classes``.
        batches: preprocessed images.
        classes: their names, in the network's order.
    """
    for batch in batches:
        with torch.inference_mode():
            logits = network(batch)
        yield from to_classes(logits, classes)


def to_classes(logits: Float[Tensor, "N K"], classes: tuple[str, ...]) -> list[Classes]:
    """Return each image's probabilities: the softmax of its logits."""
    return [Classes(classes, tuple(row)) for row in logits.double().softmax(1).tolist()]
