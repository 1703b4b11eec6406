"""What a network says of images while nothing is learned."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from striate.training.loading import Loader
from striate.training.task import Batch, Score

if TYPE_CHECKING:
    from striate.training.machine import Machine


def outputs_of(
    network: nn.Module,
    loader: Loader,
    score: Score,
    machine: "Machine",
    watched: Callable[[Batch], AbstractContextManager[None]] = lambda _batch: nullcontext(),
) -> Iterator[Tensor]:
    """Yield a network's outputs batch by batch.

    Args:
        network: on its machine; all processes get the first one's batch-norm statistics.
        loader: of this process's images.
        score: that adds them up.
        machine: whose device and precision are used.
        watched: entered for each batch.
    """
    was_training = network.training
    network.eval()
    machine.group.align(network)
    for batch in loader.epoch():
        batch = machine.move(batch)
        with watched(batch), torch.inference_mode(), machine.autocast():
            outputs = score.update(network, batch)
        yield outputs
    network.train(was_training)
