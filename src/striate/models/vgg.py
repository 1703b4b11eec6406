"""VGG: depth from 3x3 windows alone.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015, table 1. What it
brought: two 3x3 windows see as far as one of 5x5, three as far as one of 7x7, with fewer weights and more activations
(section 2.3); so a network can be nothing but such layers, and deeper ones are better up to 19. On a 224x224 image:

    stage    maps, of each convolution                             places
    stage1   A 64      B, D, E 64 64                               224 x 224
    stage2   A 128     B, D, E 128 128                             112 x 112
    stage3   A, B 256 256     D 256 256 256     E four             56 x 56
    stage4   A, B 512 512     D 512 512 512     E four             28 x 28
    stage5   A, B 512 512     D 512 512 512     E four             14 x 14
    pool5                                                          7 x 7
    dense    4,096, 4,096, 1,000: 123,642,856 of vgg16's 138,357,544 parameters

2x2 max pooling follows every stage. Deviations: He's initialisation, where the paper's deeper networks began from its
shallower ones; `vgg16_bn` has batch norm (Ioffe and Szegedy, 2015) behind each convolution, and biases in front of it
that do nothing, as torchvision's has. The parameter names are torchvision's.
"""

from functools import partial

from torch import nn

from striate.blocks.classifier import ImageClassifier, dense_head, map_size
from striate.blocks.contract import FeatureInfo
from striate.blocks.initialisation import initialise

# timm's names, as patterns, and ours, which are torchvision's; there the dense layers are convolutions.
PEER_NAMES = (
    (r"^pre_logits\.fc1\.", "classifier.0."),
    (r"^pre_logits\.fc2\.", "classifier.3."),
    (r"^head\.fc\.", "classifier.6."),
)

Stages = tuple[tuple[int, ...], ...]

A: Stages = ((64,), (128,), (256, 256), (512, 512), (512, 512))
B: Stages = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))
D: Stages = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
E: Stages = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
DENSE = 4096


def build_vgg(
    stages: Stages,
    batch_norm: bool,
    /,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    image_size: tuple[int, int] = (224, 224),
    drop_rate: float = 0.5,
) -> ImageClassifier:
    """Build a network of the paper's table.

    Args:
        stages: maps of each convolution, a tuple for each stage.
        batch_norm: whether it follows each convolution.
        num_classes: logits per image.
        in_chans: channels of the images.
        image_size: (height, width) of the images; 32x32 is the smallest.
        drop_rate: dropout behind the two hidden dense layers.
    """
    features = nn.Sequential()
    maps = []
    channels = in_chans
    # Of vgg11:
    # 64 x 224 x 224
    # 128 x 112 x 112
    # 256 x 56 x 56
    # 512 x 28 x 28
    # 512 x 14 x 14
    # 512 x 7 x 7
    for number, widths in enumerate(stages, start=1):
        for width in widths:
            features.append(nn.Conv2d(channels, width, 3, padding=1))
            if batch_norm:
                features.append(nn.BatchNorm2d(width))
            features.append(nn.ReLU(inplace=True))
            channels = width
        maps.append(FeatureInfo(f"stage{number}", channels, 2 ** (number - 1), str(len(features) - 1)))
        features.append(nn.MaxPool2d(2, 2))
    maps.append(FeatureInfo(f"pool{len(stages)}", channels, 2 ** len(stages), str(len(features) - 1)))
    height, width = map_size("VGG", features, in_chans, image_size)
    classifier = dense_head(
        nn.Linear(channels * height * width, DENSE),
        nn.ReLU(inplace=True),
        nn.Dropout(drop_rate),
        nn.Linear(DENSE, DENSE),
        nn.ReLU(inplace=True),
        nn.Dropout(drop_rate),
        nn.Linear(DENSE, num_classes),
    )
    network = ImageClassifier(features, tuple(maps), classifier, image_size)
    initialise(network, "he")
    return network


vgg11 = partial(build_vgg, A, False)
vgg13 = partial(build_vgg, B, False)
vgg16 = partial(build_vgg, D, False)
vgg19 = partial(build_vgg, E, False)
vgg16_bn = partial(build_vgg, D, True)
