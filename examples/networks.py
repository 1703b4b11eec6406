"""Small networks whose costs are worth comparing: ``striate cost examples/networks.py:NAME --input CxHxW``.

``striate cost examples/networks.py:max_pooling examples/networks.py:strided_convolution --input 64x56x56`` shows two of
them side by side.
"""

from torch import Tensor, nn

from striate.blocks.inception import Inception, Widths
from striate.zoo import create_model


def three_convolutions() -> nn.Sequential:
    """Return a textbook's exercise: 3x3, stride 2, "same", 100, 200 and 400 maps; on 3x200x300."""
    layers = nn.Sequential()
    for before, after in ((3, 100), (100, 200), (200, 400)):
        layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1)).append(nn.ReLU(inplace=True))
    return layers


def one_convolution() -> nn.Conv2d:
    """Return a 5x5 convolution of 3 maps to 200; on 3x150x100."""
    return nn.Conv2d(3, 200, 5, padding=2)


class DenseTwin(nn.Module):
    """The dense layer that gives as many values as `one_convolution`, each with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3 * 150 * 100, 200 * 150 * 100, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return 200 maps of 150x100 for images of 3 channels."""
        made: Tensor = self.dense(x.flatten(1)).unflatten(1, (200, 150, 100))
        return made


def max_pooling() -> nn.MaxPool2d:
    """Return what halves maps without a parameter; on 64x56x56."""
    return nn.MaxPool2d(2)


def strided_convolution() -> nn.Conv2d:
    """Return a convolution that halves maps by the same stride; on 64x56x56."""
    return nn.Conv2d(64, 64, 2, stride=2)


def five_by_five() -> nn.Sequential:
    """Return one 5x5 window; on 64x56x56."""
    return nn.Sequential(nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(inplace=True))


def two_three_by_three() -> nn.Sequential:
    """Return two 3x3 windows, which see as much as `five_by_five`; on 64x56x56."""
    layers = nn.Sequential()
    for _ in range(2):
        layers.append(nn.Conv2d(64, 64, 3, padding=1)).append(nn.ReLU(inplace=True))
    return layers


def inception() -> Inception:
    """Return GoogLeNet's module 3a, whose 1x1 convolutions make few maps for the wide windows; on 192x28x28."""
    return _inception(reductions=True)


def inception_without_reductions() -> Inception:
    """Return the same module with windows on all maps that come in; on 192x28x28."""
    return _inception(reductions=False)


def _inception(*, reductions: bool) -> Inception:
    return Inception(192, Widths(64, 96, 128, 16, 32, 32), reductions=reductions)


def googlenet_with_heads() -> nn.Module:
    """Return GoogLeNet as it is trained, with its two auxiliary heads; on 3x224x224."""
    return create_model("googlenet", aux_heads=True)
