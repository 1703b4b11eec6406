"""How an image becomes a network's input, as data: it travels with the weights."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

Interpolation = Literal["bilinear", "bicubic"]


class Preprocessing(BaseModel):
    """Size and normalisation of a network's images; `striate.data.transforms` applies it.

    Args:
        image_size: (height, width) that the network takes.
        mean: of each channel over the training images, on the scale from 0 to 1.
        std: their standard deviation, likewise.
        crop_pct: the image is scaled so that ``image_size`` is this share of the largest rectangle of such proportions
            in it, and its middle cut out: 224 of a shorter side of 256 pixels are 0.875. None scales the two sides of
            the whole image apart.
        interpolation: of the scaling, antialiased.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float | None = None
    interpolation: Interpolation = "bilinear"

    @property
    def channels(self) -> int:
        """Of the image."""
        return len(self.mean)

    @model_validator(mode="after")
    def _fits(self) -> "Preprocessing":
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(f"a mean and a std for each channel, not {len(self.mean)} and {len(self.std)}")
        if min(self.std) <= 0:
            raise ValueError(f"a std above 0, not {min(self.std)}")
        if self.crop_pct is not None and not 0 < self.crop_pct <= 1:
            raise ValueError(f"a crop_pct above 0 and up to 1, not {self.crop_pct}")
        return self
