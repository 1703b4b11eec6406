"""Whether a picture of what matters is true: what it says matters most is taken away, and the class should be gone.

Petsiuk, Das and Saenko, "RISE: randomized input sampling for explanation of black-box models", 2018, section 4.3. The
smaller the area below the curve, the sooner the class is gone; chance, in blots as large as the picture's, is what to
compare it with.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.explanation.points import Images

STEPS = 20


@torch.no_grad()
def deletion_curve(
    network: nn.Module, image: Images, saliency: Float[Tensor, "H W"], label: int, steps: int = STEPS, seed: int = 0
) -> list[float]:
    """Return how probable a class is with more and more of the image gone, what matters most first.

    Pixels that matter alike go by chance, not from above.

    Args:
        network: in evaluation mode, of one logit for each class.
        image: 1 x C x H x W; what is gone is 0, the mean colour.
        saliency: how much each pixel matters.
        label: the class's place among the logits.
        steps: after the whole image; with the last nothing is left of it.
        seed: of that chance.
    """
    mixed = torch.randperm(saliency.numel(), generator=torch.Generator().manual_seed(seed))
    order = mixed[saliency.flatten()[mixed].argsort(descending=True, stable=True)]
    left, shares = image.clone(memory_format=torch.contiguous_format), []
    pixels = left.flatten(2)
    for step in range(steps + 1):
        first, last = ((len(order) * at) // steps for at in (max(step - 1, 0), step))
        pixels[:, :, order[first:last]] = 0
        shares.append(float(network(left).softmax(1)[0, label]))
    return shares


def area_below(curve: Sequence[float]) -> float:
    """Return the area below a curve over the range from 0 to 1, by trapezia."""
    return (sum(curve) - (curve[0] + curve[-1]) / 2) / (len(curve) - 1)
