"""One of two processes that share a batch: ``data_parallel.py RANK FILE MODEL PARTS`` prints the peak of a step."""

import sys
from contextlib import nullcontext

import torch
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from striate.costing.verify import watched
from striate.training.optimizers import build_optimizer
from striate.zoo import create_model


def main() -> None:
    rank, file, model, parts = sys.argv[1:]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=int(rank), world_size=2)
    network = create_model(model, num_classes=10, image_size=64).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parallel = DistributedDataParallel(network, gradient_as_bucket_view=True)
    optimizer = build_optimizer(network, "momentum")
    images = torch.zeros(8, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    targets = torch.zeros(8, dtype=torch.int64)

    def step() -> None:
        pieces = list(zip(images.tensor_split(int(parts)), targets.tensor_split(int(parts)), strict=True))
        for place, (x, y) in enumerate(pieces):
            with parallel.no_sync() if place < len(pieces) - 1 else nullcontext():
                loss = F.cross_entropy(parallel(x), y)
                torch.autograd.backward(loss if len(pieces) == 1 else loss * (len(y) / len(targets)))
                del loss
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    for _ in range(3):  # The buckets are made anew after the first.
        step()
    state = [value for of in optimizer.state.values() for value in of.values() if isinstance(value, torch.Tensor)]
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    with watched([*network.parameters(), *network.buffers(), images, targets, *state, *gradients]) as peak:
        step()
    print(peak.size)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
