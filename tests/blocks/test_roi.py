"""Regions of maps against plain loops, their gradients, and the memory that they take.

Run as a program, this file prints what a step of training with each of them takes.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from math import ceil, floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from striate.blocks.regions import pyramid_align, pyramid_levels, roi_align, roi_pool
from striate.costing.devices.cpu import cpu
from striate.costing.memory import find_peak, timeline
from striate.costing.verify import measure_peak
from striate.graph.programs import Training
from striate.graph.trace import trace

STRIDE = 16
HEIGHT, WIDTH = 9, 11


def drawn(seed: int, count: int = 6, beyond: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return maps of two images, regions, and which image each is of; regions up to so many pixels past the edges."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    size = torch.tensor([WIDTH, HEIGHT]) * STRIDE + 2 * beyond
    corners = torch.rand(count, 2, 2, generator=generator, dtype=torch.float64).sort(1).values * size - beyond
    return maps, corners.flatten(1), torch.randint(0, 2, (count,), generator=generator)


def pooled(maps: Tensor, boxes: Tensor, images: Tensor, size: tuple[int, int]) -> Tensor:
    out = maps.new_zeros(len(boxes), maps.shape[1], *size)
    for region, box in enumerate(boxes.tolist()):
        left, top, right, bottom = (floor(edge / STRIDE + 0.5) for edge in box)
        high, wide = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for row in range(size[0]):
            for column in range(size[1]):
                first = (
                    min(top + floor(row * high / size[0]), HEIGHT),
                    min(left + floor(column * wide / size[1]), WIDTH),
                )
                last = top + ceil((row + 1) * high / size[0]), left + ceil((column + 1) * wide / size[1])
                part = maps[images[region], :, first[0] : last[0], first[1] : last[1]].flatten(1)
                if part.numel():
                    out[region, :, row, column] = part.max(1).values
    return out


def interpolated(maps: Tensor, y: float, x: float) -> Tensor:
    if not (-1 <= y <= HEIGHT and -1 <= x <= WIDTH):
        return maps.new_zeros(len(maps))
    y, x = min(max(y, 0.0), HEIGHT - 1), min(max(x, 0.0), WIDTH - 1)
    total = maps.new_zeros(len(maps))
    for row, row_share in ((floor(y), 1 - y % 1), (floor(y) + 1, y % 1)):
        for column, share in ((floor(x), 1 - x % 1), (floor(x) + 1, x % 1)):
            if row_share * share:
                total += row_share * share * maps[:, row, column]
    return total


def sampled(maps: Tensor, boxes: Tensor, images: Tensor, size: tuple[int, int], samples: int, aligned: bool) -> Tensor:
    out = maps.new_zeros(len(boxes), maps.shape[1], *size)
    for region, box in enumerate(boxes.tolist()):
        left, top, right, bottom = (edge / STRIDE - (0.5 if aligned else 0.0) for edge in box)
        high, wide = bottom - top, right - left
        if not aligned:
            high, wide = max(high, 1.0), max(wide, 1.0)
        for row in range(size[0]):
            for column in range(size[1]):
                for i in range(samples):
                    for j in range(samples):
                        y = top + (row + (i + 0.5) / samples) * high / size[0]
                        x = left + (column + (j + 0.5) / samples) * wide / size[1]
                        out[region, :, row, column] += interpolated(maps[images[region]], y, x) / samples**2
    return out


@given(st.integers(0, 1000), st.sampled_from([(1, 1), (2, 3), (7, 7), (14, 5)]))
def test_pooling_is_that_of_a_loop(seed: int, size: tuple[int, int]) -> None:
    maps, boxes, images = drawn(seed)
    assert roi_pool(maps, boxes, images, size, stride=STRIDE).equal(pooled(maps, boxes, images, size))


def test_a_region_of_the_whole_image_is_the_maximum_of_its_parts_and_one_outside_is_nothing() -> None:
    maps = drawn(1)[0]
    boxes = torch.tensor([[0.0, 0, WIDTH * STRIDE, HEIGHT * STRIDE], [1e4, 1e4, 2e4, 2e4], [0, 0, 0, 0]])
    found = roi_pool(maps, boxes, torch.tensor([1, 1, 0]), (1, 1), stride=STRIDE)
    assert found[0].equal(maps[1].amax((1, 2), keepdim=True))
    assert not found[1].any()
    assert found[2].equal(maps[0, :, :1, :1])


@given(st.integers(0, 1000), st.sampled_from([(1, 1), (2, 3), (4, 4)]), st.integers(1, 3), st.booleans())
def test_aligning_is_that_of_a_loop(seed: int, size: tuple[int, int], samples: int, aligned: bool) -> None:
    maps, boxes, images = drawn(seed, 3, beyond=40)
    found = roi_align(maps, boxes, images, size, stride=STRIDE, samples=samples, aligned=aligned)
    torch.testing.assert_close(found, sampled(maps, boxes, images, size, samples, aligned))


def test_a_region_around_places_is_those_places() -> None:
    maps = drawn(2)[0]
    found = roi_align(maps, torch.tensor([[32.0, 16, 80, 48]]), torch.tensor([1]), (2, 3), stride=STRIDE, samples=1)
    torch.testing.assert_close(found[0], maps[1, :, 1:3, 2:5], rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_are_those_of_small_differences(channels_last: bool) -> None:
    maps, boxes, images = drawn(3, 4, beyond=20)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    maps = maps.contiguous(memory_format=layout).requires_grad_()
    torch.autograd.gradcheck(lambda m: roi_align(m, boxes, images, (2, 3), stride=STRIDE), maps)
    torch.autograd.gradcheck(lambda m: roi_align(m, boxes, images, (3, 2), stride=STRIDE, aligned=False), maps)
    torch.autograd.gradcheck(lambda m: roi_pool(m, boxes, images, (2, 3), stride=STRIDE), maps)
    coarse = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    levels = torch.tensor([0, 1, 1, 0])
    torch.autograd.gradcheck(
        lambda *m: pyramid_align(m, boxes, images, levels, (2, 2), strides=(STRIDE, 2 * STRIDE)), (maps, coarse)
    )


def test_a_pyramid_is_each_region_on_its_own_map() -> None:
    maps, boxes, images = drawn(4, 20, beyond=20)
    levels = torch.arange(20) % 3
    pyramid = [maps, torch.randn(2, 3, 5, 6, dtype=torch.float64), torch.randn(2, 3, 3, 3, dtype=torch.float64)]
    strides = (16, 32, 64)
    found = pyramid_align(pyramid, boxes, images, levels, (2, 3), strides=strides)
    for level, (one, stride) in enumerate(zip(pyramid, strides, strict=True)):
        those = levels == level
        expected = roi_align(one, boxes[those], images[those], (2, 3), stride=stride)
        torch.testing.assert_close(found[those], expected)


def test_levels_are_the_papers() -> None:
    sides = torch.tensor([10.0, 56, 111.9, 112, 223.9, 224, 447.9, 448, 2000])
    boxes = torch.stack([0 * sides, 0 * sides, sides / 2, sides * 2], 1)
    assert pyramid_levels(boxes, 2, 5).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert pyramid_levels(boxes, 3, 4).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert pyramid_levels(torch.zeros(2, 3, 4), 2, 5).tolist() == [[0] * 3] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_keep_their_type(dtype: torch.dtype) -> None:
    maps, boxes, images = drawn(5)
    for found in (
        roi_align(maps.to(dtype), boxes.float(), images, (2, 2), stride=STRIDE),
        roi_pool(maps.to(dtype), boxes.float(), images, (2, 2), stride=STRIDE),
    ):
        assert found.dtype == dtype


def align_one(maps: Tensor, boxes: Tensor, images: Tensor) -> Tensor:
    return roi_align(maps, boxes, images, (7, 7), stride=4)


def pool_one(maps: Tensor, boxes: Tensor, images: Tensor) -> Tensor:
    return roi_pool(maps, boxes, images, (7, 7), stride=4)


def align_two(maps: Tensor, boxes: Tensor, images: Tensor) -> Tensor:
    pyramid = [maps, nn.functional.max_pool2d(maps, 2)]
    return pyramid_align(pyramid, boxes, images, pyramid_levels(boxes, 2, 3), (7, 7), strides=(4, 8))


WAYS = {"align": align_one, "pool": pool_one, "pyramid": align_two}


class Looking(nn.Module):
    """Regions of a convolution's maps, and a layer on them."""

    def __init__(self, way: Callable[[Tensor, Tensor, Tensor], Tensor], boxes: Tensor) -> None:
        super().__init__()
        self.way = way
        self.enter, self.leave = nn.Conv2d(3, 32, 3, stride=4, padding=1), nn.Linear(32 * 49, 8)
        self.register_buffer("boxes", boxes)

    def forward(self, x: Tensor) -> Tensor:
        boxes = self.get_buffer("boxes")
        images = torch.arange(len(boxes), device=x.device) % len(x)
        out: Tensor = self.leave(self.way(self.enter(x), boxes, images).flatten(1))
        return out


def step(name: str, channels_last: bool) -> Training:
    torch.manual_seed(0)
    boxes = (160 * torch.rand(128, 2, 2)).sort(1).values.flatten(1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = Looking(WAYS[name], boxes).to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(2, 3, 160, 160).contiguous(memory_format=layout)
    return Training(network, [images], [], lambda output: output.square().mean())


CASES = [(name, channels_last) for name in WAYS for channels_last in (True, False)]


@pytest.fixture(scope="module")
def measured() -> list[int]:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=300, check=True)
    figures: list[int] = json.loads(done.stdout.splitlines()[-1])
    return figures


@pytest.mark.parametrize("case", range(len(CASES)), ids=str)
def test_a_step_with_them_takes_what_is_predicted(case: int, measured: list[int]) -> None:
    predicted = find_peak(timeline(trace(step(*CASES[case])), cpu())).size
    assert predicted == pytest.approx(measured[case], rel=0.03)


if __name__ == "__main__":
    print(json.dumps([measure_peak(step(*case), "cpu") for case in CASES]))
