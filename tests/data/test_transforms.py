import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from pydantic import ValidationError

from striate.data.embedded import load_digits
from striate.data.images import picture_of
from striate.data.preprocessing import Preprocessing
from striate.data.statistics import measure
from striate.data.transforms import fit, jitter, normalise, shift, turn


@given(offsets=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=5))
def test_shifting_moves_each_image_by_its_own_offset(offsets: list[tuple[int, int]]) -> None:
    images = torch.randint(0, 256, (len(offsets), 2, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    moved = shift(images, torch.tensor(offsets))
    for image, out, (down, right) in zip(images, moved, offsets, strict=True):
        for row in range(4):
            for column in range(5):
                inside = 0 <= row - down < 4 and 0 <= column - right < 5
                expected = image[:, row - down, column - right] if inside else torch.zeros(2)
                assert out[:, row, column].tolist() == expected.tolist()


def preprocessing_of(images: torch.Tensor) -> Preprocessing:
    mean, std = measure([images])
    return Preprocessing(image_size=(images.shape[2], images.shape[3]), mean=mean, std=std)


def test_mean_and_deviation_are_those_of_all_pixels_in_however_many_batches() -> None:
    images = load_digits().pixels()
    mean, std = measure(torch.split(images, 100))
    scaled = images.numpy().astype(np.float64) / 255
    assert mean == pytest.approx((scaled.mean(),), rel=1e-12)
    assert std == pytest.approx((scaled.std(),), rel=1e-12)
    normal = normalise(images, preprocessing_of(images))
    assert abs(float(normal.mean())) < 1e-5
    assert abs(float(normal.std()) - 1) < 1e-4


def test_a_channel_of_one_level_is_not_divided_by_zero() -> None:
    flat = torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)
    assert measure([flat]) == ((0.2,), (1.0,))
    assert normalise(flat, preprocessing_of(flat)).isfinite().all()


@pytest.mark.parametrize(("height", "width"), [(31, 60), (60, 31), (40, 40), (50, 47)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_fitting_is_scaling_and_cutting_out_the_middle_as_pil_does_it(
    height: int, width: int, interpolation: Any
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    wanted = Preprocessing(
        image_size=(21, 21), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.875, interpolation=interpolation
    )
    ours = fit(picture_of(torch.from_numpy(pixels).permute(2, 0, 1)), wanted)[0].permute(1, 2, 0).numpy().astype(int)
    scale = 24 / min(height, width)
    size = (round(width * scale), round(height * scale))
    pil = Image.fromarray(pixels).resize(size, getattr(Image.Resampling, interpolation.upper()))
    left, top = (size[0] - 21) // 2, (size[1] - 21) // 2
    np.testing.assert_array_equal(ours, np.asarray(pil.crop((left, top, left + 21, top + 21))).astype(int))


def test_the_middle_of_a_very_long_image_is_the_same_to_a_level() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 300, 3), dtype=np.uint8)
    wanted = Preprocessing(image_size=(21, 21), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.875)
    ours = fit(picture_of(torch.from_numpy(pixels).permute(2, 0, 1)), wanted)[0].permute(1, 2, 0).numpy().astype(int)
    pil = Image.fromarray(pixels).resize((800, 24), Image.Resampling.BILINEAR).crop((389, 1, 410, 22))
    assert abs(ours - np.asarray(pil).astype(int)).max() <= 1


def test_images_turn_and_stretch_as_pil_transforms_them() -> None:
    smooth = Image.fromarray(np.random.default_rng(2).integers(0, 256, (5, 6), dtype=np.uint8)).resize(
        (36, 30), Image.Resampling.BICUBIC
    )
    tensor = torch.from_numpy(np.asarray(smooth).copy())[None, None]
    draws = torch.tensor([[0.8, 0.9, 0.3]], dtype=torch.float64)  # Of the largest turn 0.6; of the sides 0.8 and -0.4.
    ours = turn(tensor, 20.0, 0.1, draws)[0, 0].numpy().astype(int)
    angle, tall, wide = math.radians(12), 1.08, 0.96
    cos, sin = math.cos(angle), math.sin(angle)
    a, b, d, e = cos / wide, -sin / tall, sin / wide, cos / tall
    data = (a, b, 18 - a * 18 - b * 15, d, e, 15 - d * 18 - e * 15)
    pil = np.asarray(smooth.transform((36, 30), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)).astype(int)
    inside = (slice(6, -6), slice(6, -6))  # Beyond the edge Pillow has black.
    assert abs(ours[inside] - pil[inside]).max() <= 2
    assert torch.equal(turn(tensor, 20.0, 0.1, torch.full((1, 3), 0.5, dtype=torch.float64)), tensor)


def test_colours_change_as_pil_enhances_them() -> None:
    pixels = np.random.default_rng(1).integers(60, 190, (1, 16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels[0])
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    same = 0.5  # A factor of 1.
    for place, enhance in enumerate((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)):
        draws = torch.full((1, 3), same, dtype=torch.float64)
        draws[0, place] = 0.9  # of 1 - 0.3 to 1 + 0.3: a factor of 1.24
        ours = jitter(tensor, 0.3, draws)[0].permute(1, 2, 0).numpy().astype(int)
        assert abs(ours - np.asarray(enhance(image).enhance(1.24)).astype(int)).max() <= 2
    assert torch.equal(jitter(tensor, 0.3, torch.full((1, 3), same, dtype=torch.float64)), tensor)


@pytest.mark.parametrize("channels", [1, 5])
def test_of_images_without_colour_only_the_brightness_changes(channels: int) -> None:
    grey = torch.full((2, channels, 4, 4), 100, dtype=torch.uint8)
    changed = jitter(grey, 0.5, torch.tensor([[0.9, 0.1, 0.2], [0.1, 0.9, 0.9]], dtype=torch.float64))
    assert set(changed[0].flatten().tolist()) == {140}
    assert set(changed[1].flatten().tolist()) == {60}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"std": (0.1, 0.2)}, "a mean and a std for each channel, not 1 and 2"),
        ({"std": (0.0,)}, "a std above 0"),
        ({"crop_pct": 1.5}, "a crop_pct above 0 and up to 1, not 1.5"),
        ({"interpolation": "nearest"}, "'bilinear' or 'bicubic'"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Preprocessing.model_validate({"image_size": (8, 8), "mean": (0.5,), "std": (0.5,)} | wrong)
