"""Prediction tile by tile, with the result that the whole image would have."""

from striate.inference.tiles.tiled import Tile as Tile
from striate.inference.tiles.tiled import Tiled as Tiled
