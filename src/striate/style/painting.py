"""A picture that is painted: its pixels are what is learned, by the maps of a network that stays as it is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from striate.style.layers import Layers, Row
from striate.style.losses import AnyGrams, AnyMaps, Scalar, content_loss, gram, style_loss, total_variation

MARGIN = 8  # Pixels on each side; a first window of 7 by 7 then sees the corners as often as anything.


def with_margin(row: Row) -> list[tuple[str, nn.Module]]:
    """Return a network's layers that see an image with a margin, which mirrors what is near its edge.

    Without, a network that pads nothing sees the pixels at the edge in but one window each, and they would stay nearly
    as they were begun. The image is longer and wider than `MARGIN`.
    """
    return [("margin", nn.ReflectionPad2d(MARGIN)), *row]


class Looking(nn.Module):
    """A network as far as some of its maps.

    Args:
        row: its layers, in the order in which they run. All are held, and those behind the last of ``wanted`` not run.
        wanted: names of the layers whose maps are asked for.
        then: what is made of each map, as soon as it is there; by default the map itself.
    """

    def __init__(self, row: Row, wanted: Sequence[str], then: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList([module for _, module in row]).eval().requires_grad_(False)
        self._names, self._wanted, self._then = [name for name, _ in row], tuple(wanted), then

    def train(self, mode: bool = True) -> "Looking":
        """Stay as in evaluation: there is nothing to learn here, and a batch of one picture has no statistics."""
        return super().train(False)

    def forward(self, x: Float[Tensor, "1 C H W"]) -> list[Tensor]:
        """Return the maps, or what is made of them, in the order of the names."""
        found: dict[str, Tensor] = {}
        for name, module in zip(self._names, self.layers, strict=True):
            x = module(x)
            if name in self._wanted:
                found[name] = x if self._then is None else self._then(x)
            if len(found) == len(set(self._wanted)):
                break
        return [found[name] for name in self._wanted]


class Seen(NamedTuple):
    """What a network sees of a picture that is being painted.

    Args:
        content: the map that says what it shows.
        style: those that say in what style.
        image: the picture itself.
    """

    content: AnyMaps
    style: list[AnyMaps]
    image: Float[Tensor, "1 3 H W"]


class Painting(nn.Module):
    """A picture, and the network that looks at it.

    Args:
        row: the network's layers.
        layers: which of its maps count.
        image: where to begin, as the network takes images.
    """

    def __init__(self, row: Row, layers: Layers, image: Float[Tensor, "1 3 H W"]) -> None:
        super().__init__()
        self.looking = Looking(with_margin(row), (layers.content, *layers.style))
        self.image = nn.Parameter(image)

    def forward(self) -> Seen:
        """Return what the network sees."""
        content, *style = self.looking(self.image)
        return Seen(content, style, self.image)


class Aims(NamedTuple):
    """What a picture is to become.

    Args:
        content: the map of the content.
        style: the Gram matrices of the style.
    """

    content: AnyMaps
    style: list[AnyGrams]


class Weights(NamedTuple):
    """How much each loss counts."""

    content: float = 1.0
    style: float = 1.0
    variation: float = 0.0


class Losses(NamedTuple):
    """Losses before they are weighed."""

    content: float
    style: float
    variation: float


@torch.no_grad()
def look(row: Row, layers: Layers, content: Tensor, style: Tensor) -> Aims:
    """Return what a picture is to become, of two images as the network takes them."""
    (shown,) = Looking(with_margin(row), [layers.content])(content)
    return Aims(shown, Looking(with_margin(row), layers.style, gram)(style))


class Weighing:
    """The loss of a painting, and what its parts came to the last time.

    Args:
        weights: of the parts.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._last: Sequence[Tensor] = ()

    def __call__(self, seen: Seen, content: AnyMaps, *style: AnyGrams) -> Scalar:
        """Return the weighed sum, to be made small."""
        losses = content_loss(seen.content, content), style_loss(seen.style, style), total_variation(seen.image)
        self._last = [loss.detach() for loss in losses]
        return torch.stack([weight * loss for weight, loss in zip(self._weights, losses, strict=True)]).sum()

    @property
    def last(self) -> Losses:
        """The parts, when the loss was last asked for."""
        return Losses(*(loss.item() for loss in self._last))
