"""Readers of data sets, and the transforms between a stored image and a network's input."""
