"""A multilayer perceptron: what an image network was before it was convolutional.

The pixels are flattened and every layer sees all of the one before, so the order of the pixels means nothing to it: the
twin against which convolutions are compared. The default is the two-layer network with 300 hidden units of LeCun,
Bottou, Bengio and Haffner (1998), section III.C.5: 28·28·300 + 300 + 300·10 + 10 = 238,510 parameters. Deviation: ReLU
between the layers, where the paper squashed.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from striate.blocks.contract import expect_image_size, fresh_linear
from striate.errors import UsageError


class Mlp(nn.Module):
    """Dense layers on the flattened image.

    Args:
        num_classes: logits per image.
        in_chans: channels of the images.
        image_size: (height, width) of the images.
        hidden_sizes: units of each hidden layer, first to last; none leaves a linear classifier.
        drop_rate: dropout before the last layer.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_chans: int,
        image_size: tuple[int, int],
        hidden_sizes: Sequence[int],
        drop_rate: float,
    ) -> None:
        super().__init__()
        if not all(isinstance(size, int) and size > 0 for size in hidden_sizes):
            raise UsageError(
                expected="hidden_sizes as a list of whole numbers, 1 or more each",
                received=repr(hidden_sizes),
                remedy="Give one number for each hidden layer, for example hidden_sizes=[300,100].",
            )
        self.num_classes = num_classes
        self.image_size = image_size
        sizes = [in_chans * image_size[0] * image_size[1], *hidden_sizes]
        self.hidden = nn.Sequential(nn.Flatten())
        for before, after in pairwise(sizes):
            self.hidden.append(nn.Linear(before, after)).append(nn.ReLU(inplace=True))
        self.drop = nn.Dropout(drop_rate)
        self.output = nn.Linear(sizes[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, N x classes, for images N x C x H x W of the size that the network was built for."""
        expect_image_size(x, self.image_size, "mlp")
        logits: Tensor = self.output(self.drop(self.hidden(x)))
        return logits

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the output layer by a fresh one for ``num_classes`` classes."""
        self.num_classes = num_classes
        self.output = fresh_linear(self.output, num_classes)


def mlp(
    *,
    num_classes: int = 10,
    in_chans: int = 1,
    image_size: tuple[int, int] = (28, 28),
    hidden_sizes: Sequence[int] = (300,),
    drop_rate: float = 0.0,
) -> Mlp:
    """Build the perceptron: 238,510 parameters with one hidden layer of 300."""
    return Mlp(
        num_classes=num_classes,
        in_chans=in_chans,
        image_size=image_size,
        hidden_sizes=hidden_sizes,
        drop_rate=drop_rate,
    )
