"""Dense layers as convolutions: a classifier that takes larger images and answers at every place of them.

A dense layer on a map is a convolution as large as the map (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning
applied to document recognition", 1998, section VII; Long, Shelhamer and Darrell, "Fully convolutional networks for
semantic segmentation", 2015, section 3.1). On an image of the size that the network was built for it gives what the
network gave; on a larger one, what the network would give if it were slid over it, in one pass that computes once what
neighbouring positions share. Where layers inside the network pad their maps, that holds up to the padding: a window cut
out of the image has zeros around it, and the same window inside the image has the image.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.costing.fields import Fields
from striate.errors import StriateError, UsageError
from striate.graph.operators import OperatorGraph
from striate.graph.programs import Inference
from striate.graph.trace import trace
from striate.graph.windows import find_windows
from striate.inference.conversion import MAPS, Change, ClosedError, Conversion, Ran, Size, refusal, traced
from striate.units import format_size


class FullyConvolutional(nn.Module):
    """A classifier without dense layers.

    Args:
        network: from images, N x C x H x W, to N x K x h x w.
        window: (height, width) of the part of an image that each answer is about.
        stride: pixels from one answer's window to the next one's, down and across.
        changes: of layers, in the order in which they run.
    """

    def __init__(self, network: nn.Module, window: Size, stride: Size, changes: tuple[Change, ...]) -> None:
        super().__init__()
        self.network, self.window, self.stride, self.changes = network, window, stride, changes

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K h w"]:
        """Return what the classifier says of each window.

        Raises:
            StriateError: for an image smaller than the window.
        """
        if x.shape[-2] < self.window[0] or x.shape[-1] < self.window[1]:
            raise StriateError(
                expected=f"images of at least {format_size(self.window)} pixels, the classifier's window",
                received=format_size((x.shape[-2], x.shape[-1])),
                remedy="Scale them up.",
            )
        rows, columns = self.places((x.shape[-2], x.shape[-1]))
        outputs: Tensor = self.network(x)
        return outputs[:, :, :rows, :columns]  # Padding may make one more, of a window that hangs over the edge.

    def places(self, image_size: Size) -> Size:
        """Return how many windows lie in an image, on top of each other and side by side."""
        rows, columns = (
            (side - window) // stride + 1
            for side, window, stride in zip(image_size, self.window, self.stride, strict=True)
        )
        return rows, columns


def fully_convolutional(
    network: nn.Module, image_shape: tuple[int, int, int], *, stride: int = 1
) -> FullyConvolutional:
    """Return a classifier with convolutions in place of its dense layers; both share all weights.

    Args:
        network: any module that makes logits, N x K, of images, N x C x H x W, and ends in dense layers, or in a
            pooling over the whole map. It is traced with `torch.fx`, and put into evaluation mode.
        image_shape: (channels, height, width) of the images that it was made for.
        stride: of the first layer that sees the whole map: places of the map from one answer to the next.

    Raises:
        UsageError: for a stride below 1.
        StriateError: where it cannot be done, with the layer and the reason.
    """
    if stride < 1:
        raise UsageError(expected="a stride of 1 or more", received=str(stride), remedy="1 answers at every place.")
    network.eval()
    opened = set[str]()
    while True:
        ran = Ran(traced(network, opened), image_shape)
        try:
            changes = Conversion(ran, stride).changes()
            break
        except ClosedError as closed:
            opened.add(closed.layer)
    graph = ran.traced.graph
    graph.eliminate_dead_code()
    graph.lint()
    ran.traced.delete_all_unused_submodules()
    ran.traced.recompile()
    window = (image_shape[1], image_shape[2])
    strides = _stride(ran.traced, ran.image)
    _expect_growth(ran, window, strides)
    return FullyConvolutional(ran.traced, window, strides, changes)


def slide(
    network: nn.Module, image: Float[Tensor, "1 C H W"], window: Size, stride: Size, batch_size: int
) -> Iterator[Float[Tensor, "N K"]]:
    """Yield what a classifier says of each window of an image, row by row, ``batch_size`` windows at once."""
    corners = [
        (top, left)
        for top in range(0, image.shape[-2] - window[0] + 1, stride[0])
        for left in range(0, image.shape[-1] - window[1] + 1, stride[1])
    ]
    for first in range(0, len(corners), batch_size):
        cut = [
            image[0, :, top : top + window[0], left : left + window[1]]
            for top, left in corners[first : first + batch_size]
        ]
        with torch.inference_mode():
            outputs: Tensor = network(torch.stack(cut))
        yield outputs.clone()


def padded_layers(graph: OperatorGraph) -> list[str]:
    """Return the layers that put something around their maps, in the order in which they run."""
    padded = (
        graph.layer_of(operator) or operator.kind
        for operator in graph.operators
        if any(window.before > 0 or window.after > 0 for window in find_windows(operator, graph) or ())
    )
    return list(dict.fromkeys(padded))


def _stride(network: nn.Module, image: Tensor) -> Size:
    graph = trace(Inference(network, [image]))
    seen = Fields(graph).of(graph.calls[0].outputs[0], len(graph.operators))
    assert seen is not None
    down, across = (int(field.stride) for field in seen.fields)
    return down, across


def _expect_growth(ran: Ran, window: Size, stride: Size) -> None:
    """Refuse a network of which some layer looks at the whole image, so that it does not answer at each place."""
    height, width = window[0] + stride[0], window[1] + 2 * stride[1]
    channels = ran.image.shape[1]
    larger = torch.empty(1, channels, height, width, dtype=ran.image.dtype, device="meta")
    try:
        graph = trace(Inference(ran.traced, [larger]))
    except RuntimeError as error:
        raise refusal(f"on an image of {format_size((height, width))}: {error}", MAPS) from error
    found = graph.tensors[graph.calls[0].outputs[0]].shape[2:]
    if found != (2, 3):
        raise refusal(
            f"{format_size((found[0], found[1]))} answers on an image with 2x3 windows of it",
            "Some layer in front of its last map makes it of a fixed size.",
        )
