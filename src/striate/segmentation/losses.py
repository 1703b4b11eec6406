"""Losses of a class for each pixel. Each is a mean over images, so that those of a batch's parts add up to its own."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from striate.results import UNKNOWN


def pixel_cross_entropy(
    logits: Float[Tensor, "N K H W"], truth: Int64[Tensor, "N H W"], weights: Float[Tensor, " K"] | None = None
) -> Float[Tensor, ""]:
    """Return the mean over all pixels of -log p, p being the probability of their class, and 0 where it is not known.

    Args:
        logits: of each class at each pixel.
        truth: the class of each; ``UNKNOWN`` where nobody knows it.
        weights: of each class, with which its pixels' losses are multiplied.
    """
    total = F.cross_entropy(logits.float(), truth, weights, ignore_index=UNKNOWN, reduction="sum")
    return total / truth.numel()


def dice_loss(logits: Float[Tensor, "N K H W"], truth: Int64[Tensor, "N H W"]) -> Float[Tensor, ""]:
    """Return 1 minus the mean over images and their classes of 2 · Σ p · g / (Σ p + Σ g), over the known pixels.

    p is the probability of the class at a pixel, g is 1 where it is of the class and 0 elsewhere (Milletari, Navab and
    Ahmadi, "V-Net", 2016, section 3, without its squares). Every class counts as much, however small its regions.
    Classes that no pixel of an image is of are left out there: all that could be learned of them the others' pixels
    teach. Arguments as for `pixel_cross_entropy`.
    """
    known = (truth != UNKNOWN).unsqueeze(1)
    where = truth.unsqueeze(1).where(known, 0)
    shares = logits.float().softmax(1) * known
    nothing = shares.new_zeros(logits.shape[:2])
    true = nothing.scatter_add(1, where.flatten(1), known.flatten(1).to(shares.dtype))
    both = nothing.scatter_add(1, where.flatten(1), shares.gather(1, where).flatten(1))
    there = (true > 0).to(shares.dtype)
    lost = there * (1 - 2 * both / (shares.sum((2, 3)) + true).clamp_min(1))
    return (lost.sum(1) / there.sum(1).clamp_min(1)).mean()
