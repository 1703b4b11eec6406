"""How the tests' own images become a network's input."""

from striate.data.preprocessing import Preprocessing


def centred(channels: int = 1, side: int = 8) -> Preprocessing:
    """Return levels from 0 to 255 as numbers from -2 to 2."""
    return Preprocessing(image_size=(side, side), mean=(0.5,) * channels, std=(0.25,) * channels, crop_pct=1.0)
