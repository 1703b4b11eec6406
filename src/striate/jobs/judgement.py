"""What a trained network is worth, whatever it says of images."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from striate.data.boxed import Boxed
from striate.data.masked import MaskedFiles
from striate.data.sets import ImageSet
from striate.detection.found import ROW, packed
from striate.jobs.judging import Judged, judge
from striate.jobs.judging_boxes import JudgedBoxes, judge_boxes
from striate.jobs.judging_masks import JudgedMasks, judge_masks
from striate.training.tasks.images import LabelledImages
from striate.training.tasks.segmentation import pixel_counts
from striate.weights import WeightsConfig

Judgement = Judged | JudgedMasks | JudgedBoxes


def judge_any(
    outputs: Tensor, images: ImageSet, config: WeightsConfig, show: Callable[[LabelledImages], Tensor] | None
) -> Judgement:
    """Judge what a network said of images by what is known of them.

    Args:
        outputs: of each image, as the score of the network's task returns them.
        images: the set, as the network took it.
        config: of its weights.
        show: runs the network on a batch and returns its logits, for pictures of masks; None for none.
    """
    if isinstance(images, Boxed):
        return judge_boxes(outputs, images, has_masks=outputs.shape[2] > ROW)
    if isinstance(images, MaskedFiles):
        return judge_masks(outputs, images, config.colours, config.preprocessing, show)
    return judge(outputs, images, config.scale)


def answers(network: nn.Module, shown: Sequence[Tensor], known: Tensor | None) -> Tensor:
    """Return what is judged of a network's answers on a batch.

    Args:
        network: in evaluation mode.
        shown: what it takes, images first.
        known: masks, where it says a class for each pixel; only their counts are kept of its answers then.
    """
    with torch.inference_mode():
        outputs = network(*shown)
        if not isinstance(outputs, Tensor):
            return packed(outputs)
        return pixel_counts(outputs, known.long()) if known is not None else outputs
