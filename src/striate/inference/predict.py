"""Images through a network, batch by batch, to probabilities."""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float32
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
            probabilities = network(batch).double().softmax(1)
        for row in probabilities.tolist():
            yield Classes(classes, tuple(row))
