"""What painting a picture takes, and how it is made to fit: recomputation first, then a smaller picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from striate.costing.memory import find_peak, timeline
from striate.data.frames import Size
from striate.errors import BudgetError, UsageError
from striate.graph.programs import Inference, Training
from striate.jobs.cost import find_device
from striate.jobs.painting.eye import Eye
from striate.jobs.painting.settings import SMALLEST, StyleSettings
from striate.jobs.plan_search import MARGIN, make_search
from striate.planning.search import Candidate, Search
from striate.style.ladder import scaled, with_area_of
from striate.style.layers import map_shapes
from striate.style.lbfgs import LBFGS
from striate.style.losses import gram
from striate.style.painting import Aims, Looking, Painting, Weighing, Weights, with_margin
from striate.training.optimizers import build_optimizer
from striate.units import format_bytes

RATE = 0.05  # Adam's, of levels whose standard deviation is 1.
GRAIN = 8  # Pixels, to which a side that fits is found.


def make_optimizer(settings: StyleSettings, painting: nn.Module) -> Optimizer:
    """Return what changes a picture."""
    if settings.opt == "adam":
        return build_optimizer(painting, "adam", RATE)
    return LBFGS([parameter for parameter in painting.parameters() if parameter.requires_grad])


def painting_step(
    eye: Eye,
    settings: StyleSettings,
    image: Tensor,
    aims: Aims,
    optimizer: Callable[[nn.Module], Optimizer],
    recompute: Mapping[int, str],
) -> tuple[Training, Weighing]:
    """Return one step of painting, what is traced, what is measured and what runs, and its loss.

    Args:
        eye: the network that looks.
        settings: the weights of the losses.
        image: to begin with, as the network takes it.
        aims: what it is to become.
        optimizer: makes what changes it.
        recompute: operators that run again for the gradient.
    """
    weighing = Weighing(Weights(settings.content_weight, settings.style_weight, settings.tv_weight))
    painting = Painting(eye.row, eye.layers, image)
    step = Training(painting, [], [aims.content, *aims.style], weighing, optimizer, recompute=recompute)
    return step, weighing


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture is painted at a size.

    Args:
        side: pixels of the longer side.
        peak: bytes that it is predicted to take.
        plain: bytes that it would take without recomputation.
        recompute: operators that run again for the gradient, by their places.
    """

    side: int
    peak: int
    plain: int
    recompute: Mapping[int, str]


class Fitting:
    """Pictures of some proportions in memory.

    Args:
        eye: the network that looks at them.
        settings: how they are painted.
        content: (height, width) of the content as it is.
        style: that of the style.
    """

    def __init__(self, eye: Eye, settings: StyleSettings, content: Size, style: Size) -> None:
        self._eye, self._settings, self._sizes = eye, settings, (content, style)
        is_card = settings.device == "cuda"
        self.gpu = str(torch.cuda.get_device_properties(0).total_memory) if is_card else None
        self._device = find_device(self.gpu)

    def within(self, side: int, budget: int) -> Fit | None:
        """Return how a picture is painted within so many bytes, in the least time; None where it cannot be."""
        size, other = self._at(side)
        limit = int(budget / (1 + MARGIN)) - _held(size, other)
        looking = self._looking(size, other)
        if looking > limit:
            return None
        search = self._search(size)
        plain, found = search.variant(1).plain, search.variant(1).fastest(limit)
        if found is None:
            return None
        held = _held(size, other)
        return Fit(side, max(found.peak, looking) + held, max(plain.peak, looking) + held, _places(found))

    def largest(self, side: int, budget: int) -> Fit:
        """Return how the largest picture that fits is painted, of a longer side up to ``side``.

        Raises:
            BudgetError: where not even a small one fits, with what it takes.
        """
        found = self.within(side, budget)
        low, high = SMALLEST // GRAIN, -(-side // GRAIN)
        if found is None and side > SMALLEST:
            found = self.within(SMALLEST, budget)
            while found is not None and high - low > 1:  # The lower one fits, the higher one does not.
                middle = (low + high) // 2
                larger = self.within(middle * GRAIN, budget)
                low, high = (middle, high) if larger is not None else (low, middle)
                found = larger or found
        if found is None:
            raise BudgetError(
                expected=f"a picture of {min(side, SMALLEST)} pixels or more within {format_bytes(budget)}",
                received=f"{format_bytes(self._least(min(side, SMALLEST)))} that one takes at the least",
                remedy="Grant more with --memory, or take a smaller network, such as --model squeezenet1_0.",
            )
        return found

    def _least(self, side: int) -> int:
        size, other = self._at(side)
        least = max(self._search(size).variant(1).smallest().peak, self._looking(size, other)) + _held(size, other)
        return int(least * (1 + MARGIN)) + 1

    def _at(self, side: int) -> tuple[Size, Size]:
        size = scaled(self._sizes[0], side)
        return size, with_area_of(self._sizes[1], size)

    def _search(self, size: Size) -> Search:
        step = self._step(size)
        return make_search(lambda _parts, _dtype: step, 1, self.gpu, None, amp_dtypes=(None,), updates_early=False)

    def _step(self, size: Size) -> Training:
        eye, shapes = self._eye, map_shapes(with_margin(self._eye.row), size)
        content = torch.empty(shapes[eye.layers.content], device="meta").contiguous(memory_format=eye.layout)
        channels = [shapes[name][1] for name in eye.layers.style]
        style = [torch.empty(count, count, device="meta") for count in channels]
        image = torch.empty(1, 3, *size, device="meta")
        optimizer = partial(make_optimizer, self._settings)
        step, _ = painting_step(eye, self._settings, image, Aims(content, style), optimizer, {})
        return step

    def _looking(self, size: Size, other: Size) -> int:
        """Return what it takes to look at content and style before, and at all pictures at the end."""
        eye, peaks = self._eye, []
        row, held_out = with_margin(eye.row), eye.layers.held_out
        for layers, wanted, then, sides in (
            (row, [eye.layers.content], None, size),
            (row, eye.layers.style, gram, other),
            (eye.row, held_out, None, size),
            (eye.row, held_out, gram, other),
        ):
            program = Inference(Looking(layers, wanted, then), [torch.empty(1, 3, *sides, device="meta")])
            peaks.append(find_peak(timeline(self._device.traced(program), self._device)).size)
        return max(peaks)


def _held(size: Size, other: Size) -> int:
    """Return the bytes of content and style as Pillow keeps them, which are there throughout."""
    return 4 * (size[0] * size[1] + other[0] * other[1])


def _places(candidate: Candidate) -> dict[int, str]:
    return {each.place: each.operator for each in candidate.recompute}


def expect_room(eye: Eye, what: str, size: Size) -> None:
    """Refuse an image of which the network's maps would hold nothing.

    Args:
        eye: the network.
        what: the image is.
        size: that it has where it is smallest.

    Raises:
        UsageError: with the size.
    """
    try:
        map_shapes(with_margin(eye.row), size)
        smallest = min(min(shape[-2:]) for shape in map_shapes(eye.row, size).values())
    except RuntimeError:
        smallest = 0
    if smallest < 1:
        raise UsageError(
            expected=f"a {what} of which something is left in all maps of the network",
            received=f"one of {size[0]}x{size[1]} pixels",
            remedy="Give a larger --image-size, or cut a less narrow part out of the picture.",
        )
