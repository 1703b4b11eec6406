"""The content's colours under the style's strokes: only the luminance is painted.

Gatys, Bethge, Hertzmann and Shechtman, "Preserving color in neural artistic style transfer", 2016, section 4: the
style's luminance, with the mean and the spread of the content's, is carried over, and the content's two colour channels
are put back. Colours are those of YIQ, where Y is the luminance of NTSC.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Image = Float[Tensor, "1 3 H W"]
Luminance = Float[Tensor, "1 1 H W"]

YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
FLAT = 1e-6  # A spread below which a picture has but one luminance.


def to_yiq(image: Image) -> Image:
    """Return luminance and two channels of colour, from red, green and blue between 0 and 1."""
    return torch.einsum("kc,nchw->nkhw", torch.tensor(YIQ, dtype=image.dtype), image)


def to_rgb(image: Image) -> Image:
    """Return red, green and blue: the inverse of `to_yiq`."""
    inverse = torch.linalg.inv(torch.tensor(YIQ, dtype=torch.float64)).to(image.dtype)
    return torch.einsum("kc,nchw->nkhw", inverse, image)


def luminance(image: Image) -> Luminance:
    """Return the luminance, between 0 and 1."""
    return to_yiq(image)[:, :1]


def match_luminance(style: Float[Tensor, "1 1 h w"], content: Luminance) -> Float[Tensor, "1 1 h w"]:
    """Return σ_C / σ_S · (style - μ_S) + μ_C: the style's luminance as bright and as varied as the content's."""
    spread = content.std(correction=0) / style.std(correction=0).clamp_min(FLAT)
    return spread * (style - style.mean()) + content.mean()


def recoloured(content: Image, painted: Luminance) -> Image:
    """Return a painted luminance in the content's colours."""
    return to_rgb(torch.cat((painted, to_yiq(content)[:, 1:]), 1))
