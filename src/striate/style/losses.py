"""What a painted picture is compared by: content place by place, style by which maps occur together.

Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks", 2016, section 2. Two deviations, so
that one set of weights does for all networks and sizes of images:

- A Gram matrix is divided by the maps' places and channels, where the paper divides what it makes of two of them
  (equation 4): pictures of different sizes can be compared, and the same picture at twice the size has about the same
  matrix.
- Both losses are relative, squared differences over the squares of what is aimed at: a layer counts neither more nor
  less for the size of its values, which differs from network to network.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Maps = Float[Tensor, "1 C H W"]
Grams = Float[Tensor, "C C"]
# Of several layers, none of which is like another.
AnyMaps = Float[Tensor, "1 _ _ _"]
AnyGrams = Float[Tensor, "_ _"]
Scalar = Float[Tensor, ""]

TINY = 1e-12  # Where all that is aimed at is zero, differences alone count.


class _Gram(torch.autograd.Function):
    """F · Fᵀ, whose gradient is (D + Dᵀ) · F: one product, where autograd would take two and add them."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.save_for_backward(maps)
        rows = maps.reshape(maps.shape[1], -1)
        found: Tensor = rows @ rows.T
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (maps,), (gradient,) = ctx.saved_tensors, gradients
        rows, both = maps.reshape(maps.shape[1], -1), gradient + gradient.T
        # As the maps lie, so does their gradient.
        found: Tensor = both @ rows if rows.is_contiguous() else (rows.T @ both).T
        return found.view(maps.shape)


def gram(maps: Maps) -> Grams:
    """Return G_ij = Σ_k F_ik · F_jk (equation 3), over places times channels.

    Args:
        maps: F_ik is the i-th map at the k-th place.
    """
    found: Tensor = _Gram.apply(maps)  # type: ignore[no-untyped-call]
    return found.div(maps.numel())


def relative_error(found: Float[Tensor, "*sides"], aim: Float[Tensor, "*sides"]) -> Scalar:
    """Return Σ (found - aim)² / Σ aim²."""
    energy = torch.linalg.vector_norm(aim).square().clamp_min(TINY)
    return (found - aim).square().sum().div(energy)


def content_loss(found: Maps, aim: Maps) -> Scalar:
    """Return how far maps are from the content's (equation 1, relative)."""
    return relative_error(found, aim)


def style_loss(found: Sequence[AnyMaps], aims: Sequence[AnyGrams]) -> Scalar:
    """Return how far the Gram matrices of maps are from the style's, the mean over layers (equation 5, w_l = 1/L)."""
    return torch.stack([relative_error(gram(maps), aim) for maps, aim in zip(found, aims, strict=True)]).mean()


def total_variation(image: Float[Tensor, "1 C H W"]) -> Scalar:
    """Return the mean squared difference of neighbours, down and across.

    Mahendran and Vedaldi, "Understanding deep image representations by inverting them", 2015, section 2, with β = 2: it
    damps what changes from pixel to pixel, which a network with a large first stride hardly sees.
    """
    down = (image[:, :, 1:] - image[:, :, :-1]).square().mean()
    across = (image[:, :, :, 1:] - image[:, :, :, :-1]).square().mean()
    return down + across
