"""Operators that make each row of a map of a few given rows, and columns likewise: resizing, mirrored edges, slices.

Which rows these are, and how much each of them counts, depends on the size of the whole map and is computed from it, so
that a part of the result has the numbers that it has in the whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from striate.graph.operators import Operator
from striate.shapes import Span

Places = NDArray[np.float64]
CUBIC = -0.75  # The slope that torch's bicubic resizing takes at a distance of 1.


@dataclass(frozen=True, slots=True)
class Taps:
    """Of what each place of one side is made; not as tensors, since their values are needed where others have none.

    Args:
        places: of the side before, for each place of the side after.
        shares: of each of them; None where each place is a copy of one.
    """

    places: Int64[np.ndarray, "after taps"]
    shares: Float64[np.ndarray, "after taps"] | None = None

    def needs(self, out: Span) -> Span:
        """Return of which places some of the side after are made."""
        chosen = self.places[out.start : out.end]
        return Span(int(chosen.min()), int(chosen.max()) + 1)

    def apply(self, given: Tensor, dim: int, at: Span, out: Span) -> Tensor:
        """Return some places of the side after.

        Args:
            given: of whose dimension ``dim`` the places ``at`` are there.
            dim: the side.
            at: what `needs` says, or more.
            out: the places wanted.
        """
        places = torch.from_numpy(self.places[out.start : out.end] - at.start).to(given.device)
        if self.shares is None:
            return given.index_select(dim, places[:, 0])
        sides = [1] * given.ndim
        sides[dim] = out.size
        shares = torch.from_numpy(self.shares[out.start : out.end]).to(given.device, given.dtype)
        made = given.index_select(dim, places[:, 0]) * shares[:, 0].view(sides)
        for tap in range(1, places.shape[1]):
            made.addcmul_(given.index_select(dim, places[:, tap]), shares[:, tap].view(sides))
        return made


def resizing(operator: Operator, before: int, after: int, side: int) -> Taps | None:
    """Return how one of the two last sides of a map is resized; None for what this module does not know.

    Args:
        operator: any.
        before: size of the side.
        after: its size in the result.
        side: 0 for rows and 1 for columns.
    """
    make = _KINDS.get(operator.kind)
    if make is None:
        return None
    given = operator.arguments
    scales = cast(Sequence[float] | None, given.get("scale_factors"))
    scale = scales[side] if scales else cast(float | None, given.get(("scales_h", "scales_w")[side]))
    return make(before, after, bool(given.get("align_corners", False)), scale)


def _step(before: int, after: int, scale: float | None) -> float:
    """Return how many places of the side before lie between two of the side after."""
    return 1 / scale if scale is not None and scale > 0 else before / after


def _centres(before: int, after: int, corners: bool, scale: float | None) -> Places:
    """Return where the places of the side after lie on the side before."""
    places: Places = np.arange(after, dtype=np.float64)
    if corners:
        return places * ((before - 1) / (after - 1) if after > 1 else 0.0)
    return (places + 0.5) * _step(before, after, scale) - 0.5


def _nearest(before: int, after: int, _corners: bool, scale: float | None) -> Taps:
    if after in (before, 2 * before):
        scale = None  # On the CPU torch leaves a given scale of such sizes out of account.
    return _copied(before, np.arange(after, dtype=np.float32), scale, after)


def _nearest_exact(before: int, after: int, _corners: bool, scale: float | None) -> Taps:
    return _copied(before, np.arange(after, dtype=np.float32) + np.float32(0.5), scale, after)


def _copied(before: int, places: NDArray[np.float32], scale: float | None, after: int) -> Taps:
    # In 32 bits, as torch has it, since what is whole in 64 may lie just below that.
    found = np.floor(places * np.float32(_step(before, after, scale))).astype(np.int64)
    return Taps(found.clip(max=before - 1)[:, None])


def _linear(before: int, after: int, corners: bool, scale: float | None) -> Taps:
    centres = _centres(before, after, corners, scale).clip(min=0)
    first = np.floor(centres).astype(np.int64).clip(max=before - 1)
    share = (centres - first).clip(0, 1)
    return Taps(np.stack([first, (first + 1).clip(max=before - 1)], 1), np.stack([1 - share, share], 1))


def _cubic(before: int, after: int, corners: bool, scale: float | None) -> Taps:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 4."""
    centres = _centres(before, after, corners, scale)
    first = np.floor(centres)
    away = centres - first
    shares = [_far(1 + away), _near(away), _near(1 - away), _far(2 - away)]
    places = [(first.astype(np.int64) + move).clip(0, before - 1) for move in (-1, 0, 1, 2)]
    return Taps(np.stack(places, 1), np.stack(shares, 1))


def _near(x: Places) -> Places:
    return ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1


def _far(x: Places) -> Places:
    return ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC


_KINDS: dict[str, Callable[[int, int, bool, float | None], Taps]] = {
    "upsample_nearest2d": _nearest,
    "_upsample_nearest_exact2d": _nearest_exact,
    "upsample_bilinear2d": _linear,
    "upsample_bicubic2d": _cubic,
}


def mirrored(operator: Operator, before: int, side: int) -> Taps | None:
    """Return how one of the two last sides is continued by itself; None for an operator that does not."""
    if operator.kind not in ("reflection_pad2d", "replication_pad2d"):
        return None
    left, right, top, bottom = cast(tuple[int, int, int, int], operator.arguments["padding"])
    ahead, behind = ((top, bottom), (left, right))[side]
    places, last = np.arange(-ahead, before + behind), before - 1
    if operator.kind == "replication_pad2d":
        return Taps(places.clip(0, last)[:, None])
    return Taps((last - np.abs(last - np.abs(places)))[:, None])


def sliced(operator: Operator, shape: Sequence[int], after: int, side: int) -> Taps | None:
    """Return which places of one of the two last sides are taken out; None for an operator that takes none."""
    if operator.kind != "slice":
        return None
    given, dim, size = operator.arguments, len(shape) - 2 + side, shape[len(shape) - 2 + side]
    if cast(int, given.get("dim", 0)) % len(shape) != dim:
        return Taps(np.arange(size)[:, None])
    start = cast(int | None, given.get("start")) or 0
    start = min(max(start + size if start < 0 else start, 0), size)
    return Taps((start + np.arange(after) * cast(int, given.get("step", 1)))[:, None])
