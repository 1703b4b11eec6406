"""Receptive fields against gradients: what of the image moves a unit, found by running the network."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.blocks.convolution import SameConv2d
from striate.costing.fields import Fields, Seen
from striate.costing.layers import layer_costs
from striate.graph.operators import OperatorGraph
from striate.graph.programs import Inference
from striate.graph.trace import trace


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.path = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.path(x)
        return out


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ways = nn.ModuleList([nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, (5, 3), padding=(2, 1)), nn.AvgPool2d(3, 1, 1)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([way(x) for way in self.ways], 1)


class Cropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (2, 0, 1, 3))[:, :, 1:-1, ::2])
        return out


class ChannelsLast(nn.Module):
    """As ConvNeXt has it: norm and dense layers on channels that come last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(2, 4, 2, stride=2), nn.Conv2d(4, 4, 5, padding=2, groups=4)
        self.wide, self.narrow = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        start = self.stem(x)
        out = self.depthwise(start).permute(0, 2, 3, 1)
        out = self.narrow(self.wide(out)).permute(0, 3, 1, 2)
        total: Tensor = start + out
        return total


class Channels(nn.Module):
    """Slices, halves and shuffles channels, and changes one map in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.third = nn.Conv2d(2, 2, 3, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.first(x)
        left, _ = maps.chunk(2, 1)
        out = self.second(left)
        out.add_(self.third(left).squeeze(0))
        total: Tensor = out + maps[:, 2:] + maps[:, 1].unsqueeze(1)
        return total.view(1, 1, 2, 24, 24).transpose(1, 2).reshape(1, 2, 24, 24)


CASES: dict[str, Callable[[], nn.Module]] = {
    "one window": lambda: nn.Sequential(nn.Conv2d(2, 2, (3, 5))),
    "strides": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3, 2, 1), nn.MaxPool2d(2)),
    "dilation": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, dilation=2), nn.Conv2d(2, 2, 2, dilation=3)),
    "residual": lambda: nn.Sequential(nn.AvgPool2d(2), Residual()),
    "branches": lambda: nn.Sequential(nn.Conv2d(2, 2, 2, 2), Branches()),
    "same, even stride": lambda: nn.Sequential(SameConv2d(2, 2, 3, 2), SameConv2d(2, 2, 4, 2)),
    "padded and cropped": lambda: nn.Sequential(Cropped()),
    "local response": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.LocalResponseNorm(3)),
    "norm": lambda: nn.Sequential(nn.Conv2d(2, 4, 3, 2), nn.BatchNorm2d(4).eval()),
    "channels last": ChannelsLast,
    "channels": lambda: nn.Sequential(Channels()),
    "shuffled": lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.ChannelShuffle(2), nn.Conv2d(8, 4, 3)),
    "dense twice": lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(0, 0), nn.Conv2d(2, 2, 3)),
    "adaptive": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.AdaptiveAvgPool2d((4, 6))),
}


def built(case: str) -> nn.Module:
    torch.manual_seed(0)
    network = CASES[case]().double().eval()
    for parameter in network.parameters():
        parameter.data.abs_().add_(0.1)  # So that no path cancels another.
    return network


def reach(network: nn.Module, place: tuple[int, int]) -> list[tuple[int, int]]:
    """Return, along each side, the first and last pixel that moves the unit at a place."""
    x = (1 + torch.rand(1, 2, 24, 24, dtype=torch.float64)).requires_grad_()
    out = network(x)
    (gradient,) = torch.autograd.grad(out[0, :, place[0], place[1]].sum(), x)
    touched = gradient[0].abs().sum(0) > 0
    # Maxima are moved by one pixel of their window: any may be it, so all are.
    return [(int(hits.nonzero()[0]), int(hits.nonzero()[-1])) for hits in (touched.any(1), touched.any(0))]


def final(graph: OperatorGraph) -> Seen:
    """Return what the network's output sees."""
    seen = Fields(graph).of(graph.calls[0].outputs[0], len(graph.operators))
    assert seen is not None
    return seen


@pytest.mark.parametrize("case", [case for case in CASES if case != "strides"])
def test_fields_are_what_moves_a_unit(case: str) -> None:
    network = built(case)
    graph = trace(Inference(network, [torch.zeros(1, 2, 24, 24, dtype=torch.float64)]))
    seen, shape = final(graph), graph.tensors[graph.calls[0].outputs[0]].shape[2:]
    assert seen.dims == (2, 3)
    for place in ((0, 0), (shape[0] // 2, shape[1] // 2), (shape[0] - 1, shape[1] - 1)):
        for side, (first, last) in enumerate(reach(network, place)):
            field = seen.fields[side]
            start = field.start + place[side] * field.stride
            assert (max(float(start), 0.0), min(float(start + field.size), 24.0) - 1) == (first, last)


def test_pooling_maxima_see_their_whole_window() -> None:
    network = built("strides")
    graph = trace(Inference(network, [torch.zeros(1, 2, 24, 24, dtype=torch.float64)]))
    (field, _) = final(graph).fields
    # 3, then 3 + 2 * 2 = 7, then 7 + 4 = 11 pixels, by strides of 2, 4 and 8.
    assert (float(field.size), float(field.stride), float(field.start)) == (11, 8, -3)


def transposed() -> nn.Module:
    return nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1)


@pytest.mark.parametrize(
    ("build", "mode"),
    [
        (transposed, "exact"),
        (lambda: nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1), "exact"),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), "at most"),
        (lambda: nn.Upsample(scale_factor=2, mode="nearest"), "exact"),
        (lambda: nn.Upsample(scale_factor=3, mode="bicubic"), "at most"),
    ],
)
def test_of_enlarged_maps_the_largest_field_is_given(build: Callable[[], nn.Module], mode: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 2, 3), build()).double()
    for parameter in network.parameters():
        parameter.data.abs_().add_(0.1)
    graph = trace(Inference(network, [torch.zeros(1, 2, 24, 24, dtype=torch.float64)]))
    seen = final(graph)
    middle = graph.tensors[graph.calls[0].outputs[0]].shape[2] // 2
    sizes = []
    for place in range(middle, middle + 3):
        (first, last), _ = reach(network, (place, place))
        sizes.append(last - first + 1)
        start = seen.fields[0].start + place * seen.fields[0].stride
        assert abs(start - first) < 2
    assert max(sizes) == seen.fields[0].size


def test_what_mixes_all_places_sees_all_that_they_saw() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    graph = trace(Inference(network, [torch.zeros(1, 2, 9, 7)]))
    seen = final(graph)
    assert [tuple(map(float, (side.size, side.stride, side.start))) for side in seen.fields] == [
        (11, 0, -1),
        (9, 0, -1),
    ]


def test_a_network_without_images_has_no_fields() -> None:
    for network, shape in ((nn.Linear(4, 3), (2, 4)), (nn.LSTM(4, 3), (2, 5, 4)), (nn.Linear(4, 3), (2, 5, 4))):
        graph = trace(Inference(network, [torch.zeros(shape)]))
        assert Fields(graph).of(graph.calls[0].outputs[0], len(graph.operators)) is None


def test_a_map_changed_in_place_saw_less_before() -> None:
    layers = layer_costs(nn.Sequential(Channels()), (2, 24, 24))
    assert [layer.receptive_field for layer in layers if layer.kind == "Conv2d"] == [(3, 3), (5, 5), (7, 7)]
    assert layers[-1].receptive_field == (7, 7)


@pytest.mark.parametrize(
    ("function", "sizes", "strides"),
    [
        (lambda x: x.mean(2), (24, 3), (0, 1)),
        (lambda x: x.mean((2, 3), keepdim=True), (24, 24), (0, 0)),
        (lambda x: x.softmax(3), (3, 24), (1, 0)),
        (lambda x: x.softmax(1), (3, 3), (1, 1)),
        (lambda x: x.flatten(2).transpose(1, 2), (24, 24), (0, 0)),
        (lambda x: F.pixel_shuffle(x, 2), (3, 3), (0.5, 0.5)),
        (lambda x: x[:, :, 4], (24, 3), (0, 1)),
        (lambda x: x.amax(1), (3, 3), (1, 1)),
        (lambda x: F.interpolate(x, scale_factor=0.25, mode="bilinear", antialias=True), (3 + 9, 3 + 9), (4.4, 4.4)),
        (lambda x: F.adaptive_avg_pool2d(x, 5), (3 + 5, 3 + 5), (4.4, 4.4)),
    ],
)
def test_operators_mix_the_sides_that_they_mix(
    function: Callable[[Tensor], Tensor], sizes: tuple[float, float], strides: tuple[float, float]
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return function(self.conv(x))

    seen = final(trace(Inference(Net(), [torch.zeros(1, 2, 24, 24)])))
    assert tuple(float(field.size) for field in seen.fields) == sizes
    assert tuple(float(field.stride) for field in seen.fields) == strides
