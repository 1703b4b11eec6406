"""Networks that take less than one that a user named: a larger stride, smaller images, fewer layers. Only if allowed.

None is chosen as long as the network itself has a plan: all of them are faster than it, and each says something else.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import nn

from striate.blocks.classifier import find_stem
from striate.errors import UsageError, nearest
from striate.jobs.networks import InputSpec
from striate.jobs.programs import ModelProgram
from striate.training.fields import Change
from striate.zoo import ZOO

SHARES = (7 / 8, 3 / 4, 5 / 8, 1 / 2)  # Of the side of an image.
STEP = 8  # Sides are multiples of it, where they are larger.


@dataclass(frozen=True, slots=True)
class Variation:
    """Another program in place of one.

    Args:
        name: what is done.
        changes: what becomes of the result, as a plan's remedies say it.
        program: in its place.
    """

    name: str
    changes: str
    program: ModelProgram


def variations(program: ModelProgram, allowed: Collection[str]) -> Iterator[Variation]:
    """Yield what a user allows to be changed, of each kind the mildest first.

    Args:
        program: of one image input, or for fewer layers of a network of the zoo; of others there is nothing to change.
        allowed: kinds of changes.

    Raises:
        UsageError: for a kind that there is not.
    """
    for kind in allowed:
        if kind not in get_args(Change):
            raise UsageError(
                expected=f"--allow with {' or '.join(get_args(Change))}",
                received=kind,
                remedy=nearest(kind, get_args(Change)),
            )
    if "stride" in allowed and program.model in ZOO and (stem := _stem(program)) is not None:
        stride = 2 * stem.stride[0]
        options = {**program.options, "stem_stride": stride}
        yield Variation(f"first stride of {stride}", "larger stride", replace(program, options=options))
    if "image-size" in allowed and len(program.inputs) == 1 and len(program.inputs[0].shape) == 3:
        (spec,) = program.inputs
        channels, height, width = spec.shape
        for share in SHARES:
            smaller = (channels, _side(height * share), _side(width * share))
            text = f"{smaller[1]}x{smaller[2]}"
            yield Variation(
                f"images of {text}", "smaller images", replace(program, inputs=(InputSpec(smaller, spec.dtype),))
            )
    smaller_network = ZOO[program.model].smaller if "layers" in allowed and program.model in ZOO else None
    while smaller_network is not None:
        yield Variation(f"{smaller_network} in its place", "another network", replace(program, model=smaller_network))
        smaller_network = ZOO[smaller_network].smaller


def possible(program: ModelProgram, allowed: Collection[str]) -> Iterator[Variation]:
    """Yield those of the `variations` that can be built: images may become too small for a network."""
    for variation in variations(program, allowed):
        try:
            with torch.device("meta"):
                variation.program.build()
        except UsageError:
            continue
        yield variation


def _stem(program: ModelProgram) -> nn.Conv2d | None:
    with torch.device("meta"):
        return find_stem(program.build().network)


def _side(side: float) -> int:
    return int(side) // STEP * STEP if side >= STEP else max(1, int(side))
