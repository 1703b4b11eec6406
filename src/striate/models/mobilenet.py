"""MobileNetV2: few maps between blocks, many inside them, no activation on the few.

Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018, table 2. What it brought: the shortcut
joins the narrow ends of a block, whose inside is six times as wide and depthwise, so that little has to be kept; the
narrow ends are linear, since ReLU would lose what few maps hold. On a 224x224 image:

    block            expansion   maps   repeated   output
    convolution                    32              32 x 112 x 112
    inverted residual        1     16          1   16 x 112 x 112
                             6     24          2   24 x 56 x 56
                             6     32          3   32 x 28 x 28
                             6     64          4   64 x 14 x 14
                             6     96          3   96 x 14 x 14
                             6    160          3   160 x 7 x 7
                             6    320          1   320 x 7 x 7
    convolution 1x1              1280              1280 x 7 x 7

3,504,872 parameters for 1000 classes. Deviation: batch norm's epsilon is torch's 0.00001; in TensorFlow's network it is
0.001. ``padding="same"`` pads as TensorFlow does, for weights that were trained there; it differs from the usual
padding where the stride is 2.
"""

from functools import partial
from typing import Literal

from torch import nn

from striate.blocks.classifier import ImageClassifier, pooled_head
from striate.blocks.contract import FeatureInfo
from striate.blocks.convolution import SameConv2d, convolution
from striate.blocks.initialisation import initialise
from striate.blocks.residual import Residual
from striate.blocks.strides import Step, plan_steps, total_strides
from striate.errors import UsageError

# Expansion, maps, repetitions, stride.
TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
RELU6 = partial(nn.ReLU6, inplace=True)

# timm counts blocks within their row of the table, and names an expansion's parts otherwise than the others'.
_TIMM_BLOCKS = tuple(
    (rf"^blocks\.{row}\.{place}\.", f"features.{1 + place + sum(repeats for _, _, repeats, _ in TABLE[:row])}.block.")
    for row, (_, _, repeats, _) in enumerate(TABLE)
    for place in range(repeats)
)
_TIMM_NAMES = (
    (r"^conv_stem\.", "features.0.conv."),
    (r"^bn1\.", "features.0.norm."),
    *_TIMM_BLOCKS,
    (r"^features\.1\.block\.conv_dw\.", "features.1.path.depthwise.conv."),
    (r"^features\.1\.block\.bn1\.", "features.1.path.depthwise.norm."),
    (r"^features\.1\.block\.conv_pw\.", "features.1.path.project.conv."),
    (r"^features\.1\.block\.bn2\.", "features.1.path.project.norm."),
    (r"\.block\.conv_pw\.", ".path.expand.conv."),
    (r"\.block\.bn1\.", ".path.expand.norm."),
    (r"\.block\.conv_dw\.", ".path.depthwise.conv."),
    (r"\.block\.bn2\.", ".path.depthwise.norm."),
    (r"\.block\.conv_pwl\.", ".path.project.conv."),
    (r"\.block\.bn3\.", ".path.project.norm."),
    (r"^conv_head\.", "features.18.conv."),
    (r"^bn2\.", "features.18.norm."),
    (r"^classifier\.(weight|bias)$", r"classifier.output.\1"),
)

# torchvision's names, as patterns, and ours; the first block has no expansion.
PEER_NAMES = (
    *_TIMM_NAMES,
    (r"^(features\.(?:0|18))\.0\.", r"\1.conv."),
    (r"^(features\.(?:0|18))\.1\.", r"\1.norm."),
    (r"^features\.1\.conv\.0\.0\.", "features.1.path.depthwise.conv."),
    (r"^features\.1\.conv\.0\.1\.", "features.1.path.depthwise.norm."),
    (r"^features\.1\.conv\.1\.", "features.1.path.project.conv."),
    (r"^features\.1\.conv\.2\.", "features.1.path.project.norm."),
    (r"^(features\.\d+)\.conv\.0\.0\.", r"\1.path.expand.conv."),
    (r"^(features\.\d+)\.conv\.0\.1\.", r"\1.path.expand.norm."),
    (r"^(features\.\d+)\.conv\.1\.0\.", r"\1.path.depthwise.conv."),
    (r"^(features\.\d+)\.conv\.1\.1\.", r"\1.path.depthwise.norm."),
    (r"^(features\.\d+)\.conv\.2\.", r"\1.path.project.conv."),
    (r"^(features\.\d+)\.conv\.3\.", r"\1.path.project.norm."),
    (r"^classifier\.1\.", "classifier.output."),
)


def mobilenet_v2(
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    drop_rate: float = 0.2,
    output_stride: int = 32,
    padding: Literal["symmetric", "same"] = "symmetric",
) -> ImageClassifier:
    """Build the network of width 1.0: 3,504,872 parameters for 1000 classes.

    Args:
        num_classes: logits per image.
        in_chans: channels of the images, of any size.
        drop_rate: dropout before the output layer.
        output_stride: of the last map: 8, 16 or 32.
        padding: ``same`` for weights that were trained in TensorFlow.

    Raises:
        UsageError: for another padding.
    """
    if padding not in ("symmetric", "same"):
        raise UsageError(
            expected="padding symmetric or same", received=repr(padding), remedy="TensorFlow's weights want same."
        )
    same = padding == "same"
    steps = plan_steps((2, *(stride for *_, stride in TABLE)), output_stride)
    strides = total_strides(steps)
    kind = SameConv2d if same else nn.Conv2d
    features = nn.Sequential(convolution(in_chans, 32, 3, stride=2, activation=RELU6, kind=kind))  # 32 x 112 x 112
    channels, maps = 32, list[FeatureInfo]()
    # 16 x 112 x 112
    # 24 x 56 x 56
    # 32 x 28 x 28
    # 64 x 14 x 14
    # 96 x 14 x 14
    # 160 x 7 x 7
    # 320 x 7 x 7
    for (expansion, width, depth, asked), step, stride in zip(TABLE, steps[1:], strides[1:], strict=True):
        for place in range(depth):
            moved = place == 0 and asked > 1
            features.append(_block(channels, expansion, width, step, moved, same))
            channels, step = width, step.rest
        if asked == 1:  # A later map at the same stride.
            maps = maps[:-1]
        last = len(features) - 1
        maps.append(FeatureInfo(f"block{last}", width, stride, str(last)))
    features.append(convolution(channels, 1280, 1, activation=RELU6))  # 1280 x 7 x 7
    maps[-1] = FeatureInfo("top", 1280, strides[-1], str(len(features) - 1))
    network = ImageClassifier(features, tuple(maps), pooled_head(1280, num_classes, drop_rate))
    initialise(network, "he")
    return network


def _block(in_chans: int, expansion: int, width: int, step: Step, moved: bool, same: bool) -> Residual:
    """Return an inverted residual block; one that moves on to a larger stride has no shortcut, dilated or not."""
    hidden = expansion * in_chans
    path = nn.Sequential()
    if expansion > 1:
        path.add_module("expand", convolution(in_chans, hidden, 1, activation=RELU6))
    kind = partial(SameConv2d, lost_stride=step.lost) if same else nn.Conv2d
    stride, dilation = step.stride, step.dilation
    depthwise = convolution(
        hidden, hidden, 3, stride=stride, dilation=dilation, groups=hidden, activation=RELU6, kind=kind
    )
    path.add_module("depthwise", depthwise)
    path.add_module("project", convolution(hidden, width, 1, activation=None))
    shortcut = nn.Identity() if not moved and in_chans == width else None
    return Residual(path, shortcut, activation=None)
