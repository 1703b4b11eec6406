"""A fixed number of candidates to learn from, of which so many at most are foreground.

Of the anchors of an image nearly all are background, and a loss of all would teach nothing else (Ren et al., "Faster
R-CNN", 2015, section 3.1.3).
"""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Sample(NamedTuple):
    """Candidates that are learned from.

    Args:
        indices: of candidates, each at most once where it is valid; foreground first.
        foreground: whether the candidate is.
        valid: whether there is one at each place.
    """

    indices: Int64[Tensor, "*images count"]
    foreground: Bool[Tensor, "*images count"]
    valid: Bool[Tensor, "*images count"]


def sample_balanced(
    foreground: Bool[Tensor, "*images A"],
    background: Bool[Tensor, "*images A"],
    numbers: Float[Tensor, "*images A"],
    count: int,
    most_foreground: int,
) -> Sample:
    """Return ``count`` candidates of each image, drawn without replacement.

    ``most_foreground`` of them are foreground, or all of it if that is less; the others are background. Places stay
    empty if that is too little.

    Args:
        foreground: which candidates are.
        background: likewise.
        numbers: random ones from 0 up to 1, which decide: those with the largest are drawn.
        count: at most as many as there are candidates.
        most_foreground: at most ``count``.
    """
    most = numbers.where(foreground, -1.0).topk(most_foreground, -1)
    # What is drawn of the foreground comes before all background, and what is not drawn, after all.
    order = numbers.where(background & ~foreground, -1.0)
    order = order.scatter(-1, most.indices, (most.values + 2).where(most.values >= 0, order.gather(-1, most.indices)))
    drawn = order.topk(count, -1)
    return Sample(drawn.indices, drawn.values >= 2, drawn.values >= 0)
