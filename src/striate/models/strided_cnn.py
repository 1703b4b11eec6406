"""A network for digits whose maps shrink by strides alone.

Springenberg et al., "Striving for simplicity: the all convolutional net", 2015, table 2, compare pooling with networks
whose convolutions have a larger stride instead, Strided-CNN among them. This form of it, for small grey images, is
ours: a 5x5 window of stride 2 at once, so that all other layers see maps of half the side or less, unpadded 3x3 windows
behind it, batch norm (Ioffe and Szegedy, 2015) in front of each ReLU, and dropout. On a 28x28 image:

    layer                   output          parameters
    convolution 5x5 / 2     64 x 14 x 14    1,600 + 128
    convolution 3x3         64 x 12 x 12    36,864 + 128
    convolution 3x3         64 x 10 x 10    36,864 + 128
    convolution 3x3 / 2     128 x 5 x 5     73,728 + 256
    convolution 3x3         128 x 3 x 3     147,456 + 256
    dense                   10              11,530
                                            308,938
"""

from collections import OrderedDict

from torch import nn

from striate.blocks.classifier import ImageClassifier, map_size
from striate.blocks.contract import FeatureInfo
from striate.blocks.convolution import convolution
from striate.blocks.initialisation import initialise


def strided_cnn_28(
    *,
    num_classes: int = 10,
    in_chans: int = 1,
    image_size: tuple[int, int] = (28, 28),
    drop_rate: float = 0.4,
    width: int = 64,
) -> ImageClassifier:
    """Build the network: 308,938 parameters for ten classes of 28x28 grey images.

    Args:
        num_classes: logits per image.
        in_chans: channels of the images.
        image_size: (height, width) of the images; 17x17 is the smallest.
        drop_rate: dropout before the output layer.
        width: maps of the first stage; the second has twice as many.
    """
    stage1 = OrderedDict[str, nn.Module](
        conv1=convolution(in_chans, width, 5, stride=2),  # 64 x 14 x 14
        conv2=convolution(width, width, 3, padding=0),  # 64 x 12 x 12
        conv3=convolution(width, width, 3, padding=0),  # 64 x 10 x 10
    )
    stage2 = OrderedDict[str, nn.Module](
        conv4=convolution(width, 2 * width, 3, stride=2),  # 128 x 5 x 5
        conv5=convolution(2 * width, 2 * width, 3, padding=0),  # 128 x 3 x 3
    )
    features = nn.Sequential(OrderedDict(stage1=nn.Sequential(stage1), stage2=nn.Sequential(stage2)))
    maps = (FeatureInfo("stage1", width, 2), FeatureInfo("stage2", 2 * width, 4))
    rows, columns = map_size("strided_cnn_28", features, in_chans, image_size)
    classifier = OrderedDict(
        flatten=nn.Flatten(),  # 1152
        drop=nn.Dropout(drop_rate),
        output=nn.Linear(2 * width * rows * columns, num_classes),  # 10
    )
    network = ImageClassifier(features, maps, nn.Sequential(classifier), image_size)
    initialise(network, "he")
    return network
