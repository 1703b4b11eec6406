"""Tiles against the whole image, run by torch at once."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from parts import difference, tiled
from striate.costing.devices.cpu import cpu
from striate.costing.verify import watched
from striate.errors import BudgetError, StriateError
from striate.inference.tiles import Tiled
from striate.inference.tiles.steps import Region
from striate.units import parse_bytes
from striate.zoo import ZOO, create_model

CHANNELS = 4


class Sliced(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 1:-1, ::2]


class Gated(nn.Module):
    """Squeeze-and-excitation, with a pooled map of 2 x 3 beside the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, (2, 3))

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = x.mean((2, 3), keepdim=True) + self.mix(F.adaptive_avg_pool2d(x, (2, 3)))
        return x * gate.sigmoid()


class Pyramid(nn.Module):
    """The mean of the map, spread over it again."""

    def forward(self, x: Tensor) -> Tensor:
        spread = F.interpolate(F.adaptive_avg_pool2d(x, 2), size=x.shape[-2:], mode="bilinear")
        return x + spread


class Branches(nn.Module):
    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: Tensor) -> Tensor:
        made = [way(x) for way in self.ways]
        height, width = (min(m.shape[side] for m in made) for side in (2, 3))
        cut = [m[:, :, :height, :width] for m in made]
        mixed = torch.stack([torch.cat(cut, 1)[:, place :: len(cut)].sum(1) for place in range(len(cut))], 1)
        made_of_all: Tensor = cut[0] + mixed.softmax(1).amax(1, keepdim=True)
        return made_of_all


class Shuffled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        return x.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


class Rising(nn.Module):
    def __init__(self, mode: str, scale: float, corners: bool) -> None:
        super().__init__()
        self.mode, self.scale, self.corners = mode, scale, corners and mode in ("bilinear", "bicubic")

    def forward(self, x: Tensor) -> Tensor:
        corners = self.corners if self.mode in ("bilinear", "bicubic") else None
        return F.interpolate(x, scale_factor=self.scale, mode=self.mode, align_corners=corners)


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Module:
    sides = st.tuples(st.integers(1, 4), st.integers(1, 4))
    strides = st.tuples(st.integers(1, 3), st.integers(1, 3))
    paddings = st.tuples(st.integers(0, 4), st.integers(0, 4))
    mode: Any = draw(st.sampled_from(["zeros", "zeros", "zeros", "reflect", "replicate", "circular"]))
    return nn.Conv2d(
        *(CHANNELS, CHANNELS, draw(sides), draw(strides), draw(paddings), draw(st.integers(1, 3))),
        groups=draw(st.sampled_from([1, 2, CHANNELS])),
        padding_mode=mode,
    )


@st.composite
def transposed(draw: st.DrawFn) -> nn.Module:
    stride, kernel = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    padding = draw(st.integers(0, kernel - 1))
    dilation = draw(st.integers(1, 2))
    extra = draw(st.integers(0, max(stride, dilation) - 1))
    return nn.ConvTranspose2d(CHANNELS, CHANNELS, kernel, stride, padding, extra, dilation=dilation)


@st.composite
def poolings(draw: st.DrawFn) -> nn.Module:
    kernel, stride, ceil = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.booleans())
    padding = draw(st.integers(0, kernel // 2))
    if draw(st.booleans()):
        return nn.MaxPool2d(kernel, stride, padding, draw(st.integers(1, 2)), ceil_mode=ceil)
    divisor = draw(st.sampled_from([None, None, 5]))
    return nn.AvgPool2d(kernel, stride, padding, ceil, draw(st.booleans()), divisor)


@st.composite
def others(draw: st.DrawFn) -> nn.Module:
    edges = draw(st.tuples(*[st.integers(-2, 4)] * 4))
    norm = nn.BatchNorm2d(CHANNELS)
    assert norm.running_mean is not None
    nn.init.normal_(norm.running_mean)
    rising = Rising(
        draw(st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"])),
        draw(st.sampled_from([0.5, 1.5, 2.0, 2.3])),
        draw(st.booleans()),
    )
    return draw(
        st.sampled_from(
            [
                *(norm, nn.ReLU(inplace=True), nn.LocalResponseNorm(3), nn.ConstantPad2d(edges, 1.5), Sliced()),
                *(Gated(), Pyramid(), Shuffled(), rising, nn.Softmax(1), nn.GroupNorm(2, CHANNELS), nn.PReLU(CHANNELS)),
            ]
        )
    )


simple = st.one_of(convolutions(), transposed(), poolings(), others())


def are_of_one_view(ways: list[nn.Module]) -> bool:
    """Tell whether no way changes through the whole map what another reads through a part of it, which is refused."""
    return not (any(isinstance(way, nn.ReLU) for way in ways) and any(isinstance(way, Sliced) for way in ways))


branching = st.lists(simple, min_size=2, max_size=3).filter(are_of_one_view).map(lambda ways: Branches(*ways))
networks = st.lists(st.one_of(simple, simple, branching), min_size=1, max_size=5).map(lambda rows: nn.Sequential(*rows))


@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(networks, st.tuples(st.integers(7, 29), st.integers(7, 29)), st.integers(1, 4), st.integers(1, 4))
@example(nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1, (1, 3)), Rising("nearest", 2.3, False)), (7, 7), 1, 2)
@example(nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1, (2, 3)), Rising("nearest", 1.3, False)), (7, 7), 2, 1)
@example(  # It changes its own image, of which two parts see the same place.
    nn.Sequential(Branches(nn.ConvTranspose2d(CHANNELS, CHANNELS, 1), nn.ReLU(inplace=True)), nn.Conv2d(4, 4, (1, 2))),
    (7, 7),
    1,
    2,
)
def test_tiles_of_any_network_are_the_whole_image(
    network: nn.Module, size: tuple[int, int], rows: int, columns: int
) -> None:
    torch.manual_seed(0)
    network = network.double().eval()
    image = torch.randn(1, CHANNELS, *size, dtype=torch.float64)
    try:
        with torch.inference_mode():
            expected = network(image.clone())  # Some layers change what they are given.
    except RuntimeError:  # Nothing is left of so small an image.
        assume(False)
    assume(expected.numel() > 0 and bool(expected.isfinite().all()))
    assert difference(tiled(network, image, rows, columns), expected) < 1e-9


@pytest.mark.parametrize(
    "name",
    [name for name, entry in ZOO.items() if entry.parameters < 7e6 and entry.task == "classify" and entry.backbone],
)
def test_tiles_of_the_zoo_are_the_whole_image(name: str) -> None:
    torch.manual_seed(0)
    entry, network = ZOO[name], create_model(name).eval()
    size = entry.image_size if network.image_size else (75, 90)
    image = torch.randn(1, entry.in_chans, *size)
    for part in (network.features, network):
        with torch.inference_mode():
            expected = part(image)
        assert difference(tiled(part, image, 3, 2), expected) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, entry in ZOO.items() if entry.parameters >= 7e6 and entry.task == "classify"]
)
def test_tiles_of_large_networks_are_the_whole_image(name: str) -> None:
    torch.manual_seed(0)
    entry, network = ZOO[name], create_model(name).eval()
    size = entry.image_size if network.image_size else (130, 97)
    image = torch.randn(1, entry.in_chans, *size)
    with torch.inference_mode():
        expected = network.features(image)
    assert difference(tiled(network.features, image, 2, 2), expected) < 1e-4


def test_numbers_of_channels_are_not_taken_for_sides_of_the_map() -> None:
    norm = nn.BatchNorm2d(8).eval()
    assert norm.running_mean is not None
    nn.init.normal_(norm.running_mean)
    image = torch.randn(1, 8, 8, 8)
    assert difference(tiled(norm, image, 2, 2), norm(image).detach()) < 1e-6


class Sloped(nn.Module):
    """Adds to each column a number of its own, and to each place another."""

    slope: Tensor
    hills: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope", torch.arange(9.0))
        self.register_buffer("hills", torch.rand(7, 9))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = x + self.slope + self.hills
        return made


def test_what_is_added_to_each_column_is_cut_with_them() -> None:
    network, image = Sloped(), torch.randn(1, 3, 7, 9)
    assert difference(tiled(network, image, 3, 3), network(image)) < 1e-6


def test_a_budget_decides_how_many_parts() -> None:
    network, image = create_model("squeezenet1_0").features, torch.empty(1, 3, 4096, 3072, device="meta")
    whole = Tiled(network, image, cpu())
    assert whole.parts == 1
    own = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    budget = own + (whole.peak - own) // 5
    divided = Tiled(network, image, cpu(), budget)
    assert divided.parts > 5
    assert budget * 0.6 < divided.peak <= budget


@pytest.mark.parametrize("columns", [1, 3])
def test_the_predicted_peak_is_the_measured_one_whichever_part_takes_most(columns: int) -> None:
    """Parts at an edge are filled up, which takes a copy; those in the middle see more."""
    network = nn.Sequential(*(nn.Conv2d(16 if place else 3, 16, 3, padding=1) for place in range(4)))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randn(1, 3, 120, 110).contiguous(memory_format=torch.channels_last)
    run = Tiled(network, image, cpu())
    (sweep,) = run.passes.sweeps
    run.grids[sweep], _ = run._priced(sweep, 3, columns)

    def read(region: Region) -> Tensor:
        (top, bottom), (left, right) = region
        return image[..., top:bottom, left:right].clone(memory_format=torch.channels_last)

    for _ in run.run(read):  # What torch makes only once is there then.
        pass
    with watched([*network.parameters()]) as peak:
        for _ in run.run(read):
            pass
    assert run.peak == pytest.approx(peak.size, rel=0.01)


def test_what_others_hold_counts_and_what_would_do_is_said_with_it() -> None:
    network, image = nn.Conv2d(3, 8, 3), torch.empty(1, 3, 64, 64, device="meta")
    plain = Tiled(network, image, cpu())
    assert Tiled(network, image, cpu(), reserved=1000).peak == plain.peak + 1000
    with pytest.raises(BudgetError) as error:
        Tiled(network, image, cpu(), 2000, reserved=2000)
    smallest = int(parse_bytes(error.value.expected.split("--memory of ")[1].split(" (")[0].replace(" ", "")))
    assert Tiled(network, image, cpu(), int(smallest * 1.01), reserved=2000).peak <= smallest * 1.01


def test_a_map_that_has_to_be_whole_is_held_to_the_budget() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4))
    image = torch.empty(1, 3, 400, 400, device="meta")
    with pytest.raises(BudgetError, match="1, which sees the whole map"):
        Tiled(network, image, cpu(), 4_500_000)


def test_says_what_the_smallest_parts_would_take() -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 9))
    with pytest.raises(BudgetError, match=r"--memory of .* or more, even part by part"):
        Tiled(network, torch.empty(1, 3, 64, 64), cpu(), 100_000)


class Offset(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.ones(1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


class Twice(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x + 2


class Assigned(nn.Module):
    """Changes a channel of a map in place, and reads the map."""

    def forward(self, x: Tensor) -> Tensor:
        made = x + 1
        made[:, :1] = 0
        return made * 2


class Added(nn.Module):
    """Adds a map in place to what is there whole."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.GroupNorm(1, CHANNELS), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made = self.norm(x)
        made += x
        mixed: Tensor = self.mix(made)
        return mixed


class Unpooled(nn.Module):
    """Puts the largest values back to where they were (Badrinarayanan et al., "SegNet", 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        pooled, places = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(pooled, places, [2, 2], output_size=x.shape[-2:])


class Located(nn.Module):
    """Puts each place's coordinates beside the map (Liu et al., "CoordConv", 2018)."""

    where: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("where", torch.rand(1, 2, 12, 14))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.where], 1)


class Turned(nn.Module):
    """Uses a kernel as it is, and with its channels exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(CHANNELS, CHANNELS, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, self.kernel), self.kernel.transpose(0, 1))


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.glu(x)


class Lengths(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = x / torch.linalg.vector_norm(x, keepdim=True)
        return made


@pytest.mark.parametrize(
    "network",
    [
        *(Added(), Unpooled(), Located(), Turned(), Halved(), Lengths()),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, padding_mode="circular"),
    ],
    ids=lambda network: type(network).__name__,
)
def test_what_looks_at_the_whole_map_in_odd_ways_is_right(network: nn.Module) -> None:
    torch.manual_seed(0)
    image = torch.randn(1, CHANNELS, 12, 14)
    with torch.inference_mode():
        expected = network(image)
    for rows, columns in ((1, 1), (3, 2)):
        assert difference(tiled(network, image, rows, columns), expected) < 1e-5


class Aliased(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        made = x + 1
        made[:, :1].relu_()
        return made


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Offset(), "neither"),
        (Twice(), "2 tensors"),
        (Aliased(), "through one view and read through another"),
        (Assigned(), "through one view and read through another"),
        (Branches(nn.ReLU(inplace=True), Sliced()), "through one view and read through another"),
    ],
)
def test_refuses_what_it_could_not_do_right(network: nn.Module, said: str) -> None:
    with pytest.raises(StriateError, match=said):
        Tiled(network, torch.empty(1, 3, 8, 8), cpu())
