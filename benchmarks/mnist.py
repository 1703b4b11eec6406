"""MNIST from scratch: python benchmarks/mnist.py [RECIPE] --data FOLDER.

The folder holds the four files of the set. Beside the recipe, in the same run, one epoch of the yardstick: the network
of an introductory course (`mnist_cnn`) trained by Nadam on batches of 32, in plain PyTorch, 32-bit floats, the usual
memory layout.
"""

import time
from pathlib import Path

import torch
from torch.nn import functional as F

from accuracy import main
from record import ROOT, append_row
from striate.data.idx import read_idx_folder
from striate.zoo import create_model

BATCH = 32


def yardstick(data: str) -> float:
    """Train for one epoch of 60,000 images; return its seconds."""
    torch.manual_seed(0)
    train, test = read_idx_folder(Path(data))
    images, labels = train.pixels().float().div(255), train.labels
    network = create_model("mnist_cnn")
    optimizer = torch.optim.NAdam(network.parameters())
    started = time.perf_counter()
    for chosen in torch.split(torch.randperm(len(images)), BATCH):
        loss = F.cross_entropy(network(images[chosen]), labels[chosen])
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - started
    network.eval()
    with torch.inference_mode():
        pairs = zip(torch.split(test.pixels(), 1000), torch.split(test.labels, 1000), strict=True)
        right = sum(int((network(x.float() / 255).argmax(1) == y).sum()) for x, y in pairs)
    append_row("mnist_yardstick", seconds=round(seconds, 1), test_accuracy=right / len(test.labels))
    print(f"the yardstick, plain PyTorch, one epoch: {seconds:.1f} s, test accuracy {right / len(test.labels):.2%}")
    return seconds


if __name__ == "__main__":
    recipes = ("mnist-fast", "mnist-best", "lenet5-mnist", "mnist_cnn-mnist")
    options = main(recipes, str(ROOT.parent / "shared" / "data" / "mnist"), seeds=5)
    one = yardstick(options.data)
    print(f"{options.recipe} takes {options.seconds / one:.2f} times as long as one epoch of the yardstick")
