"""What a network sees of a picture that is being painted."""

import torch
from torch import nn

from striate.style.painting import Looking, with_margin


def test_the_edge_is_seen_as_often_as_anything_else() -> None:
    """Of windows of 7 by 7 at every other place, 9 to 16 see a pixel; without a margin, one sees a corner."""
    window = nn.Conv2d(1, 1, 7, 2, bias=False)
    nn.init.ones_(window.weight)

    def seen(row: list[tuple[str, nn.Module]]) -> torch.Tensor:
        image = torch.zeros(1, 1, 40, 40, requires_grad=True)
        (maps,) = Looking(row, ["window"])(image)
        (found,) = torch.autograd.grad(maps.sum(), image)
        return found[0, 0]

    row: list[tuple[str, nn.Module]] = [("window", window)]
    assert seen(row)[0, 0] == 1
    with_mirrors = seen(with_margin(row))
    assert with_mirrors.min() >= 3 * 3
    assert (with_mirrors[12:-12, 12:-12] <= 4 * 4).all()
