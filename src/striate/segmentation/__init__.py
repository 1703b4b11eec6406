"""Decoders that say a class for each pixel, on the maps of any backbone."""
