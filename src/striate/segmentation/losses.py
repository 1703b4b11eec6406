"""Losses of a class for each pixel."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F


def pixel_cross_entropy(
    logits: Float[Tensor, "N K H W"],
    truth: Int64[Tensor, "N H W"],
    known: Bool[Tensor, "N H W"],
    weights: Float[Tensor, " K"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean over the pixels that are known of -log p, p being the probability of their class.

    Args:
        logits: of each class at each pixel.
        truth: the class of each; any number where it is not known.
        known: whether it is. The loss of a batch without such pixels is 0.
        weights: of each class; a weighted mean is taken, so that weights that are all alike change nothing.
    """
    losses = -logits.float().log_softmax(1).gather(1, truth.where(known, 0).unsqueeze(1)).squeeze(1)
    share = known.to(losses.dtype) if weights is None else weights[truth.where(known, 0)] * known
    return (losses * share).sum() / share.sum().clamp_min(torch.finfo(losses.dtype).tiny)


def dice_loss(
    logits: Float[Tensor, "N K H W"], truth: Int64[Tensor, "N H W"], known: Bool[Tensor, "N H W"]
) -> Float[Tensor, ""]:
    """Return 1 minus the mean over classes of 2 · Σ p · g / (Σ p + Σ g), over the known pixels of the whole batch.

    p is the probability of the class at a pixel, g is 1 where it is of the class and 0 elsewhere (Milletari, Navab and
    Ahmadi, "V-Net", 2016, section 3, without its squares). Every class counts as much, however small its regions.
    Classes that no pixel of the batch is of are left out: all that could be learned of them the others' pixels teach.
    Arguments as for `pixel_cross_entropy`.
    """
    shares = logits.float().softmax(1) * known.unsqueeze(1)
    wanted = F.one_hot(truth.where(known, 0), logits.shape[1]).movedim(-1, 1) * known.unsqueeze(1)
    sides = (0, 2, 3)
    both, either = 2 * (shares * wanted).sum(sides), (shares + wanted).sum(sides)
    there = (wanted.sum(sides) > 0).to(both.dtype)
    return (there * (1 - both / either.clamp_min(torch.finfo(both.dtype).tiny))).sum() / there.sum().clamp_min(1)
