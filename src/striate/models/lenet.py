"""LeNet-5: the network that read cheques.

LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", Proceedings of the IEEE
86(11), 1998, section II.B and figure 2. What it brought: convolutions that share their weights over the image,
alternating with subsampling, ahead of dense layers, all trained together by backpropagation.

    layer   window           maps   paper's parameters   here
    C1      5x5 convolution     6                  156    156
    S2      2x2 subsampling     6                   12      -
    C3      5x5 convolution    16                1,516  2,416
    S4      2x2 subsampling    16                   32      -
    C5      5x5 convolution   120               48,120 48,120
    F6      dense              84               10,164 10,164
    output  10 classes                       (fixed)     850
                                                60,000 61,706

Deviations of `lenet5` from the paper: C3 sees all six maps (in the paper's table I most of its maps see three or four
of them, which saves 900 weights); S2 and S4 are plain averages (the paper's have a trained gain and bias for each map);
the activation is tanh (the paper's is 1.7159 tanh(2x/3)); the output is a trained dense layer under softmax (the
paper's are Euclidean distances to drawn digits). C5 is written as the dense layer that it is on a 32x32 image.

`lenet5_28` is the form that textbooks train on MNIST as it is, 28x28 without a border: sigmoid and max pooling.
"""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from striate.blocks.contract import FeatureInfo, expect_image_size, feature_maps, fresh_linear
from striate.shapes import Window, chain_image

MAPS = (6, 16)
DENSE = (120, 84)
CONVOLUTION = Window(kernel=5)
SUBSAMPLING = Window(kernel=2, stride=2)


class LeNet(nn.Module):
    """Two convolutions, each followed by a 2x2 pooling, then dense layers of 120, 84 and ``num_classes``.

    Args:
        num_classes: logits per image.
        in_chans: channels of the images.
        image_size: (height, width) of the images; 16x16 is the smallest.
        drop_rate: share of the last hidden layer's values set to zero in training.
        activation: makes the function after each layer but the last.
        pooling: makes a pooling layer of the given window and stride.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_chans: int,
        image_size: tuple[int, int],
        drop_rate: float,
        activation: Callable[[], nn.Module],
        pooling: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        height, width = chain_image("LeNet-5", image_size, [CONVOLUTION, SUBSAMPLING, CONVOLUTION, SUBSAMPLING])
        self.num_classes = num_classes
        self.image_size = image_size
        self.feature_info = (
            FeatureInfo("c1", MAPS[0], 1),
            FeatureInfo("c3", MAPS[1], 2),
            FeatureInfo("s4", MAPS[1], 4),
        )

        # Shapes in comments are lenet5's, on a 32x32 image.
        c1 = nn.Conv2d(in_chans, MAPS[0], CONVOLUTION.kernel)  # 6 x 28 x 28
        s2 = pooling(SUBSAMPLING.kernel, SUBSAMPLING.stride)  # 6 x 14 x 14
        c3 = nn.Conv2d(MAPS[0], MAPS[1], CONVOLUTION.kernel)  # 16 x 10 x 10
        s4 = pooling(SUBSAMPLING.kernel, SUBSAMPLING.stride)  # 16 x 5 x 5
        self.stages = nn.Sequential(
            OrderedDict(
                c1=nn.Sequential(OrderedDict(conv=c1, act=activation())),
                c3=nn.Sequential(OrderedDict(pool=s2, conv=c3, act=activation())),
                s4=s4,
            )
        )
        self.hidden = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),  # 400
                c5=nn.Linear(MAPS[1] * height * width, DENSE[0]),  # 120
                act5=activation(),
                f6=nn.Linear(DENSE[0], DENSE[1]),  # 84
                act6=activation(),
                drop=nn.Dropout(drop_rate),
            )
        )
        self.output = nn.Linear(DENSE[1], num_classes)  # 10

    def features(self, x: Tensor) -> Tensor:
        """Return S4's maps: N x 16 x 5 x 5 for a 32x32 image."""
        features: Tensor = self.stages(x)
        return features

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the last maps at strides 1, 2 and 4."""
        return feature_maps(self.stages, x)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, N x classes, for images N x C x H x W of the size that the network was built for."""
        expect_image_size(x, self.image_size, "LeNet-5")
        logits: Tensor = self.output(self.hidden(self.features(x)))
        return logits

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the output layer by a fresh one for ``num_classes`` classes."""
        self.num_classes = num_classes
        self.output = fresh_linear(self.output, num_classes)


def lenet5(
    *, num_classes: int = 10, in_chans: int = 1, image_size: tuple[int, int] = (32, 32), drop_rate: float = 0.0
) -> LeNet:
    """Build the network of 1998: 32x32, tanh, average pooling; 61,706 parameters."""
    return LeNet(
        num_classes=num_classes,
        in_chans=in_chans,
        image_size=image_size,
        drop_rate=drop_rate,
        activation=nn.Tanh,
        pooling=nn.AvgPool2d,
    )


def lenet5_28(
    *, num_classes: int = 10, in_chans: int = 1, image_size: tuple[int, int] = (28, 28), drop_rate: float = 0.0
) -> LeNet:
    """Build the textbooks' form: 28x28, sigmoid, max pooling; 44,426 parameters."""
    return LeNet(
        num_classes=num_classes,
        in_chans=in_chans,
        image_size=image_size,
        drop_rate=drop_rate,
        activation=nn.Sigmoid,
        pooling=nn.MaxPool2d,
    )
