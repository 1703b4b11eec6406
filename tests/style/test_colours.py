"""Luminance and colours apart, and together again."""

import colorsys

import pytest
import torch
from torch import Tensor

from striate.style.colours import luminance, match_luminance, recoloured, to_rgb, to_yiq


def image(seed: int, height: int = 6, width: int = 7) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_there_and_back_again() -> None:
    given = image(0)
    assert torch.allclose(to_rgb(to_yiq(given)), given, atol=1e-12)


def test_a_pixels_luminance_and_colours_are_those_of_pythons_own() -> None:
    given = image(1)
    y, i, q = to_yiq(given)[0, :, 2, 3].tolist()
    theirs = colorsys.rgb_to_yiq(*given[0, :, 2, 3].tolist())
    # Python rounds its coefficients to two places.
    assert (y, i, q) == pytest.approx(theirs, abs=6e-3)
    assert float(luminance(given)[0, 0, 2, 3]) == y


def test_grey_has_no_colour() -> None:
    grey = torch.full((1, 3, 2, 2), 0.4)
    assert torch.allclose(to_yiq(grey)[:, :1], grey[:, :1])
    assert to_yiq(grey)[:, 1:].abs().max() < 1e-6


def test_the_painted_luminance_is_kept_and_the_colours_are_the_contents() -> None:
    content, painted = image(2), luminance(image(3))
    made = recoloured(content, painted)
    assert torch.allclose(luminance(made), painted)
    assert torch.allclose(to_yiq(made)[:, 1:], to_yiq(content)[:, 1:])


def test_a_matched_luminance_has_the_contents_mean_and_spread() -> None:
    content, style = 0.3 * luminance(image(4)) + 0.5, luminance(image(5, 3, 4))
    matched = match_luminance(style, content)
    assert float(matched.mean()) == pytest.approx(float(content.mean()))
    assert float(matched.std(correction=0)) == pytest.approx(float(content.std(correction=0)))
    assert torch.equal(matched.flatten().argsort(), style.flatten().argsort())


def test_a_style_of_one_luminance_becomes_the_contents_mean() -> None:
    content = luminance(image(6))
    assert torch.allclose(match_luminance(torch.full_like(content, 0.2), content), content.mean())
