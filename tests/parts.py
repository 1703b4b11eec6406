"""A network run on an image in so many parts, put together."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from striate.costing.devices.cpu import cpu
from striate.inference.tiles import Tiled
from striate.inference.tiles.steps import Region


def reader(image: Tensor) -> Callable[[Region], Tensor]:
    def read(region: Region) -> Tensor:
        part = image[..., region.rows.start : region.rows.end, region.columns.start : region.columns.end]
        return part.clone()  # Some layers change what they are given, and the next part overlaps this one.

    return read


def tiled(network: nn.Module, image: Tensor, rows: int, columns: int) -> Tensor:
    """Return what a network makes of an image in so many parts, put together."""
    run = Tiled(network, image, cpu())
    for sweep, grid in run.grids.items():
        *_, height, width = run.passes.shape(sweep.map)
        run.grids[sweep] = replace(grid, rows=min(rows, height), columns=min(columns, width))
    result = torch.full(run.output_shape, torch.nan, dtype=image.dtype)
    done = 0
    for tile in run.run(reader(image)):
        assert tile.done >= done
        done = tile.done
        if tile.values is not None and tile.region is None:
            result = tile.values
        elif tile.values is not None and tile.region is not None:
            (top, bottom), (left, right) = tile.region
            result[..., top:bottom, left:right] = tile.values
    assert done == run.parts
    return result


def difference(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())
