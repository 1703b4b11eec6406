"""From coarse to fine: a picture is painted small first, and what came of it is painted on at twice the size.

Gatys, Ecker, Bethge, Hertzmann and Shechtman, "Controlling perceptual factors in neural style transfer", 2017, section
6: large forms are found where a network sees much of the picture at once and a step costs little; at full size only
detail is left. With five eighths as many steps at each next size, which has four times the pixels, each rung takes two
and a half times the time of the one before: a picture of twice the size takes less than three times the time. With half
as many it would take less, but the last steps would be too few: its losses ended a quarter above the smaller picture's.
"""

from typing import NamedTuple

STEPS, OF = 5, 8  # Steps of a rung, of those of the one before.
COARSEST = 128  # Pixels of the longer side that no rung but the only one is below.
FEWEST = 20  # Steps of a rung, if more were asked for.


class Rung(NamedTuple):
    """A size at which is painted.

    Args:
        side: pixels of the longer side.
        steps: taken there.
    """

    side: int
    steps: int


def ladder(side: int, steps: int) -> tuple[Rung, ...]:
    """Return the sizes on the way to one, from coarse to fine, each half of the next.

    Args:
        side: pixels of the longer side at the end.
        steps: on the coarsest rung; five eighths as many on each next one.

    >>> ladder(512, 100)
    (Rung(side=128, steps=100), Rung(side=256, steps=63), Rung(side=512, steps=40))
    """
    sides = [side]
    while sides[0] >= 2 * COARSEST:
        sides.insert(0, -(-sides[0] // 2))
    fewest = min(FEWEST, steps)
    return tuple(Rung(each, max(-(-steps * STEPS**place // OF**place), fewest)) for place, each in enumerate(sides))


def scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (height, width) in the same proportions, the longer one ``side``."""
    height, width = (max(round(each * side / max(size)), 1) for each in size)
    return height, width


def with_area_of(size: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) in the proportions of ``size``, with about as many pixels as ``other``.

    A style's strokes are then as large as the content's things are, and it takes no more memory than that does.
    """
    factor = (other[0] * other[1] / (size[0] * size[1])) ** 0.5
    height, width = (max(round(each * factor), 1) for each in size)
    return height, width
