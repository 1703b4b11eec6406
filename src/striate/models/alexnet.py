"""AlexNet: the network that won ImageNet in 2012 and made everyone look at convolutions again.

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 2012. What it
brought: ReLU in place of tanh (section 3.1), two towers on two GPUs that meet in some layers only (3.2), local response
normalization (3.3), pooling windows that overlap (3.4), dropout (4.2).

    layer   window             stride   maps   `alexnet`    `alexnet_owt` (maps)
    conv1   11x11              4          96        34,944        23,296   (64)
    conv2   5x5, two groups    1         256       307,456       307,392  (192)
    conv3   3x3                1         384       885,120       663,936  (384)
    conv4   3x3, two groups    1         384       663,936       884,992  (256)
    conv5   3x3, two groups    1         256       442,624       590,080  (256)
    dense   9,216 to 4,096                      37,752,832    37,752,832
    dense                                4,096  16,781,312    16,781,312
    dense                                1,000   4,097,000     4,097,000
                                                60,965,224    61,100,840

3x3 max pooling with a stride of 2 follows conv1, conv2 and conv5. Deviation of `alexnet` from the paper: a padding of 2
in conv1, which the paper does not mention, though it has the 55x55 places that this gives on its 224x224 pixels.

`alexnet_owt` is the one-tower form of Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
2014, without groups and normalization, as torchvision has it, with its parameter names. Deviation: the paper's footnote
says 384 maps for conv4; the network that its author published has 256, and so do torchvision's and this one. Dropout
comes ahead of the hidden dense layers, as in torchvision's, and not behind them.

`alexnet_28` is what tutorials of 2015 made of it for MNIST: three stages of 3x3 convolution, pooling, local response
normalization and dropout, then two dense layers of 1,024; 5,624,842 parameters on 28x28 grey images. Its alpha is
0.001 shared among the nine maps that it normalises by, which is torch's way to say it.
"""

from collections import OrderedDict
from itertools import pairwise

from torch import nn

from striate.blocks.classifier import ImageClassifier, dense_head, map_size
from striate.blocks.contract import FeatureInfo
from striate.blocks.initialisation import initialise
from striate.blocks.normalisation import LocalResponseNorm, local_response_norm

DENSE = 4096


def alexnet(
    *, num_classes: int = 1000, in_chans: int = 3, image_size: tuple[int, int] = (224, 224), drop_rate: float = 0.5
) -> ImageClassifier:
    """Build the network of 2012: 60,965,224 parameters for 1000 classes.

    Args:
        num_classes: logits per image.
        in_chans: channels of the images.
        image_size: (height, width) of the images; 63x63 is the smallest.
        drop_rate: dropout behind the two hidden dense layers.
    """
    # The paper's constants, section 3.3.
    norm = {"k": 2.0, "alpha": 1e-4, "beta": 0.75}
    features = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_chans, 96, 11, 4, padding=2),  # 96 x 55 x 55
            act1=nn.ReLU(inplace=True),
            norm1=local_response_norm(5, **norm),
            pool1=nn.MaxPool2d(3, 2),  # 96 x 27 x 27
            conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),  # 256 x 27 x 27
            act2=nn.ReLU(inplace=True),
            norm2=local_response_norm(5, **norm),
            pool2=nn.MaxPool2d(3, 2),  # 256 x 13 x 13
            conv3=nn.Conv2d(256, 384, 3, padding=1),  # 384 x 13 x 13
            act3=nn.ReLU(inplace=True),
            conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),  # 384 x 13 x 13
            act4=nn.ReLU(inplace=True),
            conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),  # 256 x 13 x 13
            act5=nn.ReLU(inplace=True),
            pool5=nn.MaxPool2d(3, 2),  # 256 x 6 x 6
        )
    )
    maps = (
        FeatureInfo("norm1", 96, 4),
        FeatureInfo("norm2", 256, 8),
        FeatureInfo("act5", 256, 16),
        FeatureInfo("pool5", 256, 32),
    )
    height, width = map_size("alexnet", features, in_chans, image_size)
    classifier = nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),  # 9216
            fc6=nn.Linear(256 * height * width, DENSE),  # 4096
            act6=nn.ReLU(inplace=True),
            drop6=nn.Dropout(drop_rate),
            fc7=nn.Linear(DENSE, DENSE),  # 4096
            act7=nn.ReLU(inplace=True),
            drop7=nn.Dropout(drop_rate),
            output=nn.Linear(DENSE, num_classes),  # 1000
        )
    )
    network = ImageClassifier(features, maps, classifier, image_size)
    _initialise_as_the_paper(network)
    return network


def _initialise_as_the_paper(network: ImageClassifier) -> None:
    """Draw weights of deviation 0.01; some layers begin with a bias of 1, so that their ReLUs do (section 5)."""
    started = {"features.conv2", "features.conv4", "features.conv5", "classifier.fc6", "classifier.fc7"}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is not None
            nn.init.normal_(module.weight, std=0.01)
            nn.init.constant_(module.bias, 1.0 if name in started else 0.0)


def alexnet_owt(
    *, num_classes: int = 1000, in_chans: int = 3, image_size: tuple[int, int] = (224, 224), drop_rate: float = 0.5
) -> ImageClassifier:
    """Build the one-tower form of 2014: 61,100,840 parameters for 1000 classes.

    Args:
        num_classes: logits per image.
        in_chans: channels of the images.
        image_size: (height, width) of the images; 63x63 is the smallest.
        drop_rate: dropout ahead of the two hidden dense layers.
    """
    features = nn.Sequential(
        nn.Conv2d(in_chans, 64, 11, 4, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
    )
    maps = (
        FeatureInfo("conv1", 64, 4, "1"),
        FeatureInfo("conv2", 192, 8, "4"),
        FeatureInfo("conv5", 256, 16, "11"),
        FeatureInfo("pool5", 256, 32, "12"),
    )
    height, width = map_size("alexnet_owt", features, in_chans, image_size)
    classifier = dense_head(
        nn.Dropout(drop_rate),
        nn.Linear(256 * height * width, DENSE),
        nn.ReLU(inplace=True),
        nn.Dropout(drop_rate),
        nn.Linear(DENSE, DENSE),
        nn.ReLU(inplace=True),
        nn.Linear(DENSE, num_classes),
    )
    network = ImageClassifier(features, maps, classifier, image_size)
    initialise(network, "he")
    return network


def alexnet_28(
    *,
    num_classes: int = 10,
    in_chans: int = 1,
    image_size: tuple[int, int] = (28, 28),
    drop_rate: float = 0.0,
    feature_drop_rate: float = 0.2,
) -> ImageClassifier:
    """Build the form for 28x28 grey images: maps of 28, 14, 7 and 4 places a side; 5,624,842 parameters.

    Args:
        num_classes: logits per image.
        in_chans: channels of the images.
        image_size: (height, width) of the images; any will do.
        drop_rate: dropout before the output layer; the tutorials have none.
        feature_drop_rate: dropout behind each of the three stages.
    """
    stages = OrderedDict[str, nn.Module]()
    for number, (before, after) in enumerate(pairwise((in_chans, 64, 128, 256)), start=1):
        stages[f"conv{number}"] = nn.Conv2d(before, after, 3, padding=1)
        stages[f"act{number}"] = nn.ReLU(inplace=True)
        stages[f"pool{number}"] = nn.MaxPool2d(2, 2, ceil_mode=True)
        stages[f"norm{number}"] = LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)
        stages[f"drop{number}"] = nn.Dropout(feature_drop_rate)
    features = nn.Sequential(stages)
    maps = (
        FeatureInfo("conv1", 64, 1, "act1"),
        FeatureInfo("conv2", 128, 2, "act2"),
        FeatureInfo("conv3", 256, 4, "act3"),
        FeatureInfo("norm3", 256, 8, "drop3"),
    )
    height, width = map_size("alexnet_28", features, in_chans, image_size)
    classifier = nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc4=nn.Linear(256 * height * width, 1024),
            act4=nn.ReLU(inplace=True),
            fc5=nn.Linear(1024, 1024),
            act5=nn.ReLU(inplace=True),
            drop=nn.Dropout(drop_rate),
            output=nn.Linear(1024, num_classes),
        )
    )
    network = ImageClassifier(features, maps, classifier, image_size)
    initialise(network, "he")
    return network
