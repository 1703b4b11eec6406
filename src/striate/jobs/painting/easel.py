"""Content and style at each size at which is painted, what is shown of a picture, and how it is judged."""

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from striate.data.frames import Size, whole
from striate.data.images import Picture
from striate.data.keyed import Use, key
from striate.jobs.painting.eye import Eye
from striate.jobs.painting.settings import StyleSettings
from striate.style.colours import luminance, match_luminance, recoloured
from striate.style.ladder import scaled, with_area_of
from striate.style.losses import content_loss, gram, style_loss
from striate.style.painting import Looking

NOISE = 0.5  # Standard deviation of noise to begin with, where that of photographs is 1.

Levels = Float[Tensor, "1 3 H W"]  # From 0 to 1.
Input = Float[Tensor, "1 3 H W"]  # As the network takes it.
Another = Float[Tensor, "1 3 h w"]  # Either, of another size.


class Distances(NamedTuple):
    """How far a picture is from content and style on maps that it was not painted by, in squares over squares."""

    content: float
    style: float


class Worth(NamedTuple):
    """How far a picture is, and others are beside which it stands.

    Args:
        painted: the picture.
        content: the content itself.
        style: the style itself, at the content's size.
        blend: the mean of the two.
    """

    painted: Distances
    content: Distances
    style: Distances
    blend: Distances


class Easel:
    """Two images, and the network that looks at them.

    Args:
        eye: the network.
        settings: how is painted.
        content: the one image.
        style: the other.
        side: pixels of the picture's longer side at the end; the images are kept no larger than that.
    """

    def __init__(self, eye: Eye, settings: StyleSettings, content: Picture, style: Picture, side: int) -> None:
        self._eye, self._settings = eye, settings
        self.size = scaled(content.size, side)
        self._content, self._style = content.scaled(self.size), style.scaled(with_area_of(style.size, self.size))

    def sizes(self, side: int) -> tuple[Size, Size]:
        """Return (height, width) of content and style where the content's longer side is so long."""
        size = scaled(self.size, side)
        return size, with_area_of(self._style.size, size)

    def inputs(self, side: int) -> tuple[Input, Another]:
        """Return content and style at a size, as the network takes them."""
        size, other = self.sizes(side)
        content, style = self._levels(self._content, size), self._levels(self._style, other)
        return self._as_input(content, content), self._as_input(style, content)

    def begun(self, side: int) -> Input:
        """Return the picture to begin with: the content, or noise."""
        content, _ = self.inputs(side)
        if self._settings.init == "content":
            return content
        # Drawn on the CPU, so that a card begins with the same.
        generator = torch.Generator().manual_seed(key(self._settings.seed, Use.SAMPLE))
        noise = NOISE * torch.randn(content.shape, generator=generator)
        return noise.to(content.device)

    def carried(self, image: Input, side: int) -> Another:
        """Return a picture at the size of the next rung.

        What was painted so far is carried over, the difference from what was begun with: where that was the content,
        its detail at the new size is there at once, and need not be found again.
        """
        (size, _), drawn = self.sizes(side), image
        if self._settings.init == "content":
            drawn = image - self.inputs(max(image.shape[2:]))[0]
        larger = F.interpolate(drawn, size, mode="bicubic", align_corners=False)
        if self._settings.init == "content":
            larger += self.inputs(side)[0]
        return self._eye.to_input(self._eye.to_image(larger))

    def shown(self, image: Input) -> UInt8[Tensor, "3 H W"]:
        """Return a picture's pixels, in the content's colours where these are to be kept."""
        painted = self._eye.to_image(image)
        if self._settings.preserve_color:
            height, width = painted.shape[2:]
            painted = recoloured(self._levels(self._content, (height, width)), luminance(painted))
        return painted[0].clamp(0, 1).mul(255).round().byte().cpu()

    def judge(self, image: Input) -> Worth:
        """Return how far a picture is from content and style, by the maps that were held out."""
        content, style = self._levels(self._content, self.size), self._levels(self._style, self._style.size)
        alike = self._levels(self._style, self.size)
        held_out, row = self._eye.layers.held_out, self._eye.row
        with torch.no_grad():
            (aim,) = Looking(row, held_out[-1:])(self._as_input(content, content))
            grams = Looking(row, held_out, gram)(self._as_input(style, content))

            def distances(shown: Input) -> Distances:
                maps = Looking(row, held_out)(shown)
                return Distances(content_loss(maps[-1], aim).item(), style_loss(maps, grams).item())

            return Worth(
                painted=distances(self._eye.to_input(self._eye.to_image(image))),
                content=distances(self._as_input(content, content)),
                style=distances(self._as_input(alike, content)),
                blend=distances(self._as_input((content + alike) / 2, content)),
            )

    def _levels(self, picture: Picture, size: Size) -> Levels:
        """Return an image's levels from 0 to 1."""
        pixels = picture.cut(whole(picture.size), size)
        return pixels.unsqueeze(0).to(self._settings.device).float().div_(255)

    def _as_input(self, image: Levels, content: Another) -> Input:
        """Return an image as the network takes it; where colours are kept, its luminance, like the content's."""
        if self._settings.preserve_color:
            image = match_luminance(luminance(image), luminance(content)).expand(-1, 3, -1, -1)
        return self._eye.to_input(image)
