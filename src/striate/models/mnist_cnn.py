"""The small convolutional network that introductory courses train on MNIST.

Its lineage is the MNIST example that shipped with Keras (F. Chollet and others, 2015): 3x3 convolutions under ReLU, one
2x2 max pooling, dropout of 0.25 before the dense layer and of 0.5 after it. This form has three convolutions, padded
to keep their size:

    layer            output         parameters
    convolution 32   32 x 28 x 28   320
    max pooling      32 x 14 x 14   -
    convolution 64   64 x 14 x 14   18,496
    convolution 64   64 x 14 x 14   36,928
    dense 128        128            1,605,760
    dense 10         10             1,290
                                    1,662,794
"""

from collections import OrderedDict

from torch import Tensor, nn

from striate.blocks.contract import FeatureInfo, expect_image_size, feature_maps, fresh_linear
from striate.shapes import Window, chain_image, same_padding

MAPS = (32, 64, 64)
DENSE = 128
KERNEL = 3
POOLING = Window(kernel=2, stride=2)


class MnistCnn(nn.Module):
    """Three padded 3x3 convolutions, one pooling, a dense layer of 128.

    Args:
        num_classes: logits per image.
        in_chans: channels of the images.
        image_size: (height, width) of the images; 2x2 is the smallest.
        drop_rate: dropout before the last layer.
        feature_drop_rate: dropout before the first dense layer.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_chans: int,
        image_size: tuple[int, int],
        drop_rate: float,
        feature_drop_rate: float,
    ) -> None:
        super().__init__()
        height, width = chain_image("mnist_cnn", image_size, [POOLING])
        padding = same_padding(KERNEL)
        self.num_classes = num_classes
        self.image_size = image_size
        self.feature_info = (FeatureInfo("stage1", MAPS[0], 1), FeatureInfo("stage2", MAPS[2], 2))
        self.stages = nn.Sequential(
            OrderedDict(
                stage1=nn.Sequential(
                    OrderedDict(
                        conv1=nn.Conv2d(in_chans, MAPS[0], KERNEL, padding=padding),  # 32 x 28 x 28
                        act1=nn.ReLU(inplace=True),
                    )
                ),
                stage2=nn.Sequential(
                    OrderedDict(
                        pool=nn.MaxPool2d(POOLING.kernel, POOLING.stride),  # 32 x 14 x 14
                        conv2=nn.Conv2d(MAPS[0], MAPS[1], KERNEL, padding=padding),  # 64 x 14 x 14
                        act2=nn.ReLU(inplace=True),
                        conv3=nn.Conv2d(MAPS[1], MAPS[2], KERNEL, padding=padding),  # 64 x 14 x 14
                        act3=nn.ReLU(inplace=True),
                    )
                ),
            )
        )
        self.hidden = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),  # 12544
                drop1=nn.Dropout(feature_drop_rate),
                dense=nn.Linear(MAPS[2] * height * width, DENSE),  # 128
                act=nn.ReLU(inplace=True),
                drop2=nn.Dropout(drop_rate),
            )
        )
        self.output = nn.Linear(DENSE, num_classes)  # 10

    def features(self, x: Tensor) -> Tensor:
        """Return the last convolution's maps: N x 64 x 14 x 14 for a 28x28 image."""
        features: Tensor = self.stages(x)
        return features

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the last maps at strides 1 and 2."""
        return feature_maps(self.stages, x)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, N x classes, for images N x C x H x W of the size that the network was built for."""
        expect_image_size(x, self.image_size, "mnist_cnn")
        logits: Tensor = self.output(self.hidden(self.features(x)))
        return logits

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the output layer by a fresh one for ``num_classes`` classes."""
        self.num_classes = num_classes
        self.output = fresh_linear(self.output, num_classes)


def mnist_cnn(
    *,
    num_classes: int = 10,
    in_chans: int = 1,
    image_size: tuple[int, int] = (28, 28),
    drop_rate: float = 0.5,
    feature_drop_rate: float = 0.25,
) -> MnistCnn:
    """Build the network: 1,662,794 parameters for ten classes of 28x28 grey images."""
    return MnistCnn(
        num_classes=num_classes,
        in_chans=in_chans,
        image_size=image_size,
        drop_rate=drop_rate,
        feature_drop_rate=feature_drop_rate,
    )
