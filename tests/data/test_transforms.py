import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from striate.data.source import load_digits
from striate.data.transforms import Preprocessing, resize, shift


@pytest.mark.parametrize("size", [(32, 32), (5, 7), (8, 20)])
def test_resizing_agrees_with_pil_to_one_level(size: tuple[int, int]) -> None:
    digits = load_digits().images[:50]
    ours = resize(digits, size).numpy()[:, 0].astype(int)
    pil = [np.asarray(Image.fromarray(d).resize(size[::-1], Image.Resampling.BILINEAR)) for d in digits.numpy()[:, 0]]
    assert abs(ours - np.stack(pil)).max() <= 1


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


def test_preprocessing_measures_the_training_images() -> None:
    images = load_digits().images
    measured = Preprocessing.measure(images)
    scaled = images.numpy().astype(np.float64) / 255
    assert measured.mean == pytest.approx((scaled.mean(),), rel=1e-12)
    assert measured.std == pytest.approx((scaled.std(),), rel=1e-12)
    normal = measured.normalise(images)
    assert abs(float(normal.mean())) < 1e-5
    assert abs(float(normal.std()) - 1) < 1e-4


def test_a_channel_of_one_level_is_not_divided_by_zero() -> None:
    flat = torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)
    assert Preprocessing.measure(flat) == Preprocessing((2, 2), (0.2,), (1.0,))
    assert Preprocessing.measure(flat).normalise(flat).isfinite().all()
