"""Anchors: boxes of a few sizes and shapes at each place of a map, from which a network says how a thing differs.

Ren, He, Girshick and Sun, "Faster R-CNN", 2015, section 3.1.1: 3 sizes and 3 shapes, so m · n · 9 on a map of m x n
places. They are to be torchvision's to the bit, so that networks which learned with those can be used: edges rounded to
whole pixels, around a middle that is a place's number times the stride. There, but for half a pixel, is what a unit
behind strided convolutions of odd kernels looks at.
"""

from collections.abc import Sequence
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor, nn

SIZES = (128, 256, 512)  # The paper's: square roots of the anchors' areas, in pixels.
RATIOS = (0.5, 1.0, 2.0)  # Of heights to widths.
RARE = 0.025  # Share of things to either side that anchors are not made for.


def base_anchors(sizes: Sequence[int | float] = SIZES, ratios: Sequence[float] = RATIOS) -> Float[Tensor, "A 4"]:
    """Return the anchors of one place around 0, 0: all sizes of the first ratio, then of the next.

    Args:
        sizes: square roots of their areas, in pixels.
        ratios: of heights to widths.
    """
    roots = torch.tensor(ratios, dtype=torch.float32).sqrt()[:, None]
    sides = torch.tensor(sizes, dtype=torch.float32)
    widths, heights = (1 / roots * sides).flatten(), (roots * sides).flatten()
    return (torch.stack([-widths, -heights, widths, heights], 1) / 2).round()


def spread_anchors(
    base: Float[Tensor, "A 4"], map_size: tuple[int, int], stride: int | tuple[int, int]
) -> Float[Tensor, "anchors 4"]:
    """Return the anchors of all places of a map, row by row, those of one place together.

    Args:
        base: of one place.
        map_size: (rows, columns) of the map.
        stride: pixels from one place to the next; (down, across) where they differ.
    """
    down, across = (stride, stride) if isinstance(stride, int) else stride
    rows, columns = (
        step * torch.arange(count, device=base.device, dtype=base.dtype)
        for count, step in zip(map_size, (down, across), strict=True)
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return (torch.stack([x, y, x, y], -1).unsqueeze(2) + base).view(-1, 4)


class Anchors(nn.Module):
    """The anchors of some maps. Their boxes at one place are part of a network's state: it has learned with them.

    Args:
        sizes: square roots of their areas, in pixels, on each map; of three ratios each.
        strides: of the maps.
    """

    def __init__(self, sizes: Sequence[Sequence[int | float]], strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = tuple(strides)
        for level, own in enumerate(sizes):
            self.register_buffer(f"level{level}", base_anchors(own))

    def forward(self, *maps: Float[Tensor, "N C _ _"]) -> list[Float[Tensor, "_ 4"]]:
        """Return the anchors of all images alike, on each map."""
        sizes = [(each.shape[2], each.shape[3]) for each in maps]
        return [
            spread_anchors(base.float(), size, stride)
            for base, size, stride in zip(self.buffers(), sizes, self.strides, strict=True)
        ]

    @torch.no_grad()
    def fit(self, sides: Float[Tensor, "K 2"]) -> None:
        """Spread the sizes evenly, in their logarithms, from the smallest to the largest thing that is not rare.

        Args:
            sides: widths and heights of things, in pixels.
        """
        roots = sides.prod(1).sqrt().log()
        low, high = torch.quantile(roots, torch.tensor([RARE, 1 - RARE]).to(roots)).tolist()
        each = [len(base) // len(RATIOS) for base in self.buffers()]
        sizes = iter(torch.linspace(low, high, sum(each)).exp().tolist())
        for base, count in zip(self.buffers(), each, strict=True):
            base.copy_(base_anchors(list(islice(sizes, count))))
