"""A network for digits that pools by strides: all that shrinks its maps is learned.

Springenberg et al., "Striving for simplicity: the all convolutional net", 2015, section 2, showed that a convolution of
stride 2 can stand in for max pooling. This form, for small grey images, is ours: unpadded 3x3 windows, two 5x5 ones of
stride 2, batch norm (Ioffe and Szegedy, 2015) behind each, and one window that sees all of the last map. On a 28x28
image, with ``width`` 32:

    layer                   output          parameters
    convolution 3x3         32 x 26 x 26    288 + 64
    convolution 3x3         32 x 24 x 24    9,216 + 64
    convolution 5x5 / 2     32 x 12 x 12    25,600 + 64
    convolution 3x3         64 x 10 x 10    18,432 + 128
    convolution 3x3         64 x 8 x 8      36,864 + 128
    convolution 5x5 / 2     64 x 4 x 4      102,400 + 128
    convolution 4x4         128 x 1 x 1     131,072 + 256
    dense                   10              1,290
                                            325,994
"""

from collections import OrderedDict

from torch import nn

from striate.blocks.classifier import ImageClassifier, map_size, pooled_head
from striate.blocks.contract import FeatureInfo
from striate.blocks.convolution import convolution
from striate.blocks.initialisation import initialise

LAST = 4  # Side of the last map of a 28x28 image.


def allconv_28(
    *,
    num_classes: int = 10,
    in_chans: int = 1,
    image_size: tuple[int, int] = (28, 28),
    drop_rate: float = 0.4,
    width: int = 32,
) -> ImageClassifier:
    """Build the network: 325,994 parameters for ten classes of grey images.

    Args:
        num_classes: logits per image.
        in_chans: channels of the images.
        image_size: (height, width) of the images; 25x25 is the smallest.
        drop_rate: dropout before the output layer.
        width: maps of the first layers; the later ones have twice and four times as many.
    """
    stage1 = OrderedDict[str, nn.Module](
        conv1=convolution(in_chans, width, 3, padding=0),  # 32 x 26 x 26
        conv2=convolution(width, width, 3, padding=0),  # 32 x 24 x 24
    )
    stage2 = OrderedDict[str, nn.Module](
        conv3=convolution(width, width, 5, stride=2),  # 32 x 12 x 12
        conv4=convolution(width, 2 * width, 3, padding=0),  # 64 x 10 x 10
        conv5=convolution(2 * width, 2 * width, 3, padding=0),  # 64 x 8 x 8
    )
    stage3 = OrderedDict[str, nn.Module](
        conv6=convolution(2 * width, 2 * width, 5, stride=2),  # 64 x 4 x 4
        conv7=convolution(2 * width, 4 * width, LAST, padding=0),  # 128 x 1 x 1
    )
    stages = OrderedDict[str, nn.Module]()
    for place, stage in enumerate((stage1, stage2, stage3), 1):
        stages[f"stage{place}"] = nn.Sequential(stage)
    features = nn.Sequential(stages)
    maps = tuple(FeatureInfo(f"stage{place}", 2 ** (place - 1) * width, 2 ** (place - 1)) for place in (1, 2, 3))
    map_size("allconv_28", features, in_chans, image_size)
    network = ImageClassifier(features, maps, pooled_head(4 * width, num_classes, drop_rate), image_size)
    initialise(network, "he")
    return network
