"""Networks that are not in the zoo, each odd in its own way; built without arguments, as `file.py:callable`."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def double_conv(before: int, after: int) -> nn.Sequential:
    layers = nn.Sequential()
    for channels in (before, after):
        layers.append(nn.Conv2d(channels, after, 3, padding=1, bias=False))
        layers.append(nn.BatchNorm2d(after)).append(nn.ReLU(inplace=True))
    return layers


class UNet(nn.Module):
    """Down and up again, with what was seen on the way down (Ronneberger et al., 2015)."""

    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.enter = double_conv(3, width)
        self.down = nn.ModuleList(double_conv(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.join = nn.ModuleList(double_conv(2 * a, a) for a in widths[:-1])
        self.leave = nn.Conv2d(width, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.enter(x)]
        for block in self.down:
            maps.append(block(F.max_pool2d(maps[-1], 2)))
        out = maps.pop()
        for rise, join in zip(reversed(self.up), reversed(self.join), strict=True):
            out = join(torch.cat([maps.pop(), rise(out)], 1))
        result: Tensor = self.leave(out)
        return result


class Dense(nn.Module):
    """Each layer sees all before it (Huang et al., 2017)."""

    def __init__(self, growth: int = 12, layers: int = 8) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 2 * growth, 3, padding=1)
        widths = [2 * growth + growth * place for place in range(layers)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, growth, 3, padding=1)) for width in widths
        )
        self.head = nn.Linear(widths[-1] + growth, 10)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.enter(x)]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        logits: Tensor = self.head(torch.cat(maps, 1).mean((2, 3)))
        return logits


class Shared(nn.Module):
    """One convolution, applied again and again, with its way out scaled by one weight."""

    def __init__(self, times: int = 5) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 32, 1)
        self.again = nn.Conv2d(32, 32, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(32, 10)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        out = self.enter(x)
        for _ in range(self.times):
            out = out + self.scale * torch.tanh(self.again(out))
        logits: Tensor = self.head(out.amax((2, 3)))
        return logits


class Branches(nn.Module):
    """Four ways of different windows at once, added, put together, and weighed by one another."""

    def __init__(self) -> None:
        super().__init__()
        self.ways = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 24, side, padding=side // 2), nn.SiLU()) for side in (1, 3, 5, 7)
        )
        self.mix = nn.Conv2d(96, 24, 1)
        self.gate = nn.Conv2d(24, 24, 1)
        self.head = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(24, 48, 3, stride=2), nn.AdaptiveAvgPool2d(1))
        self.out = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        ways = [way(x) for way in self.ways]
        mixed = self.mix(torch.cat(ways, 1)) * self.gate(sum(ways)).sigmoid()
        logits: Tensor = self.out(self.head(mixed).flatten(1))
        return logits


def dilated() -> nn.Sequential:
    """Windows with gaps, ever wider (Yu and Koltun, 2016), in groups, with leaky activations."""
    layers = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.LeakyReLU(0.1))
    for gap in (2, 4, 8):
        layers.append(nn.Conv2d(32, 32, 3, padding=gap, dilation=gap, groups=4))
        layers.append(nn.GroupNorm(8, 32)).append(nn.LeakyReLU(0.1))
    return layers.append(nn.Conv2d(32, 7, 1)).append(nn.Upsample(scale_factor=2, mode="bilinear"))


def generator() -> nn.Sequential:
    """Transposed convolutions from few pixels to many, as generators have them (Radford et al., 2016)."""
    layers = nn.Sequential()
    for before, after in ((64, 48), (48, 24), (24, 12)):
        layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
        layers.append(nn.BatchNorm2d(after)).append(nn.ReLU())
    return layers.append(nn.Conv2d(12, 3, 5, padding=2)).append(nn.Tanh())


def sound() -> nn.Sequential:
    """1-d convolutions, over time."""
    layers = nn.Sequential()
    for before, after in ((2, 32), (32, 64), (64, 128)):
        layers.append(nn.Conv1d(before, after, 9, stride=2, padding=4))
        layers.append(nn.BatchNorm1d(after)).append(nn.ELU())
    return layers.append(nn.AdaptiveAvgPool1d(1)).append(nn.Flatten()).append(nn.Linear(128, 10))


def volume() -> nn.Sequential:
    """3-d convolutions, over space or over the frames of a film."""
    layers = nn.Sequential()
    for before, after in ((1, 16), (16, 32)):
        layers.append(nn.Conv3d(before, after, 3, padding=1)).append(nn.BatchNorm3d(after)).append(nn.ReLU())
        layers.append(nn.MaxPool3d(2))
    return layers.append(nn.AdaptiveAvgPool3d(1)).append(nn.Flatten()).append(nn.Linear(32, 10))


class Attention(nn.Module):
    """Patches that attend to each other (Dosovitskiy et al., 2021)."""

    def __init__(self, width: int = 96, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, stride=8)
        self.place = nn.Parameter(torch.zeros(1, 64, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        out: Tensor = self.head(self.body(tokens + self.place).mean(1))
        return out


class Recurrent(nn.Module):
    """Sequences of numbers, one state after the other (Hochreiter and Schmidhuber, 1997)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 64, num_layers=2, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x)
        logits: Tensor = self.head(out[:, -1])
        return logits


class Words(nn.Module):
    """Two inputs: words, by number, and an image."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(1000, 32)
        self.mix = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.image = nn.Conv2d(3, 32, 3, stride=2)
        self.head = nn.Linear(64, 10)

    def forward(self, words: Tensor, image: Tensor) -> Tensor:
        seen = self.image(image).relu().mean((2, 3))
        logits: Tensor = self.head(torch.cat([self.mix(self.words(words)).mean(1), seen], 1))
        return logits


class Recomputed(nn.Module):
    """Blocks that are run again for their gradients, instead of being kept (Chen et al., 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 32, 3, padding=1)
        self.blocks = nn.ModuleList(double_conv(32, 32) for _ in range(4))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.enter(x)
        for block in self.blocks:
            out = checkpoint(block, out, use_reentrant=False)
        logits: Tensor = self.head(out.mean((2, 3)))
        return logits


class Halved(nn.Module):
    """A convolution whose maps are handed on in two halves."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 16, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.mix(x).chunk(2, 1)
        return left, right.relu()


class Halves(nn.Module):
    """Parts that return tuples, of two tensors and of one."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.alone = Halved(), Wrapped()
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.part(x)
        (out,) = self.alone(left + right)
        logits: Tensor = self.head(out.mean((2, 3)))
        return logits


class Wrapped(nn.Module):
    """One convolution, in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.mix(x).sin(),)


class Twice(torch.autograd.Function):
    """A function with a backward pass of its own, which adds two terms of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        first: Tensor = grad * 2
        second: Tensor = x.exp()
        return first + second


class Own(nn.Module):
    """Gradients written by hand, a dense layer on what lies transposed, and a part that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(64, 500)
        self.leave = nn.Linear(500, 4)
        self.unused = nn.Linear(300, 300)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.enter(x.transpose(1, 2))
        for _ in range(2):
            made = Twice.apply(made)  # type: ignore[no-untyped-call]
        out: Tensor = self.leave(made).mean(1)
        return out


ODD: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "UNet": (UNet, ("3x64x64",)),
    "Dense": (Dense, ("3x48x48",)),
    "Shared": (Shared, ("3x64x64",)),
    "Branches": (Branches, ("3x64x64",)),
    "dilated": (dilated, ("3x64x64",)),
    "generator": (generator, ("64x8x8",)),
    "sound": (sound, ("2x4000",)),
    "volume": (volume, ("1x16x32x32",)),
    "Attention": (Attention, ("3x64x64",)),
    "Recurrent": (Recurrent, ("50x16",)),
    "Words": (Words, ("24:int64", "3x32x32")),
    "Recomputed": (Recomputed, ("3x64x64",)),
    "Halves": (Halves, ("3x32x32",)),
    "Own": (Own, ("64x30",)),
}
