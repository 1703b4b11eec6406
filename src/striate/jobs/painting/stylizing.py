"""A picture with what one image shows, in the style of another, from coarse to fine and within a budget."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer

from striate.counted import Counted
from striate.data.frames import Size
from striate.data.images import read_image
from striate.errors import InterruptedRunError, NotFiniteError, UsageError
from striate.files import make_folder, replace_file
from striate.jobs.memory import find_budget
from striate.jobs.painting.easel import Easel, Worth
from striate.jobs.painting.eye import Eye, open_eye
from striate.jobs.painting.memory import Fit, Fitting, expect_room, make_optimizer, painting_step
from striate.jobs.painting.settings import StyleSettings, aside_of, check_style, preview_of
from striate.jobs.painting.state import State, fingerprint, resumed
from striate.style.ladder import Rung, ladder
from striate.style.painting import Losses, look
from striate.training.signals import spoken, stop_signals
from striate.units import format_number

OFTEN = 10  # Steps from one preview to the next.


@dataclass(frozen=True, slots=True)
class StylePlan:
    """How a picture is painted.

    Args:
        model: the network that looks at it.
        origin: of its weights.
        rungs: the sizes, from coarse to fine.
        asked: pixels of the longer side that were asked for; no more fit, where the last rung has fewer.
        fit: what the last rung takes; None without a budget.
        begun: steps that were done before, by a call that was cut off.
    """

    model: str
    origin: str
    rungs: tuple[Rung, ...]
    asked: int
    fit: Fit | None
    begun: int


@dataclass(frozen=True, slots=True)
class StyleStep(Counted):
    """One step is done.

    Args:
        size: (height, width) of the picture at that step.
        losses: before the step.
        seconds: since the beginning.
    """

    what = "painting"

    size: Size
    losses: Losses
    seconds: float


@dataclass(frozen=True, slots=True)
class Stylized:
    """A picture that is painted.

    Args:
        path: of its file.
        size: its (height, width).
        worth: how far it is from content and style, on maps that it was not painted by, and others beside it.
        peak: bytes that it was predicted to take; None without a budget.
        seconds: that it took.
    """

    path: Path
    size: Size
    worth: Worth
    peak: int | None
    seconds: float


def stylize(
    content: str | Path, style: str | Path, output: str | Path, settings: StyleSettings | None = None
) -> Iterator[StylePlan | StyleStep | Stylized]:
    """Paint what one image shows in the style of another; the last record is the picture.

    While it goes on, `preview_of` ``output`` has the picture so far. What was cut off is gone on with by the same call,
    and ends with the same bits on a CPU.

    Args:
        content: an image file.
        style: another.
        output: the picture's file; its ending says of which format.
        settings: how; by default the usual ones, with weights that are at hand.

    Raises:
        UsageError: for an image that cannot be read or is too small, an output that is there, files of the user's where
            preview and state would be, or weights that are another network's.
        BudgetError: where the memory is too little for any picture.
        InterruptedRunError: after Ctrl-C or SIGTERM, when all is saved.
        NotFiniteError: where a loss is not a number.
    """
    settings, path = settings or StyleSettings(), Path(output)
    source = check_style(content, style, path, settings)
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(expected="a CUDA device, for --device cuda", received="none", remedy="Leave --device out.")
    make_folder(path.parent)
    shown, painted = read_image(Path(content), 3), read_image(Path(style), 3)
    eye = open_eye(source, settings.device)
    fitting, fit = Fitting(eye, settings, shown.size, painted.size), None
    budget = None if settings.memory is None else find_budget(settings.memory, fitting.gpu)
    if budget is not None:
        fit = fitting.largest(settings.image_size, budget)
    rungs = ladder(settings.image_size if fit is None else fit.side, settings.steps)
    easel = Easel(eye, settings, shown, painted, rungs[-1].side)
    del shown, painted  # Perhaps much larger than what is kept of them.
    for what, size in zip(("content", "style"), easel.sizes(rungs[0].side), strict=True):
        expect_room(eye, what, size)
    asked = asdict(settings) | {"weights": eye.origin, "model": source.model, "memory": None, "rungs": rungs}
    asked |= {"content": fingerprint(Path(content)), "style": fingerprint(Path(style))}
    state = resumed(aside_of(path), asked)
    begun = sum(rung.steps for rung in rungs[: state.rung]) + state.step
    yield StylePlan(source.model, eye.origin, rungs, settings.image_size, fit, begun)

    plans: dict[int, Mapping[int, str]] = {}
    if fit is not None and budget is not None:
        plans[fit.side] = fit.recompute
        for rung in rungs[:-1]:
            smaller = fitting.within(rung.side, budget)
            assert smaller is not None, "what fits at full size fits at any smaller one"
            plans[rung.side] = smaller.recompute
    try:
        yield from _paint(eye, settings, easel, rungs, state, plans, path)
        assert state.image is not None
        pixels = easel.shown(state.image)
        worth = easel.judge(state.image)
        _write(path, pixels)
        aside_of(path).unlink(missing_ok=True)
    finally:
        if not aside_of(path).exists():  # Left alone, the preview would be taken for a file of the user's.
            preview_of(path).unlink(missing_ok=True)
    yield Stylized(path, easel.size, worth, None if fit is None else fit.peak, state.seconds)


def _paint(
    eye: Eye,
    settings: StyleSettings,
    easel: Easel,
    rungs: tuple[Rung, ...],
    state: State,
    plans: Mapping[int, Mapping[int, str]],
    path: Path,
) -> Iterator[StyleStep]:
    """Paint from where ``state`` is to the end, and leave the picture there."""
    total = sum(rung.steps for rung in rungs)
    with stop_signals() as received:
        for place in range(state.rung, len(rungs)):
            rung = rungs[place]
            began = time.monotonic() - state.seconds
            if state.image is None:
                state.image = easel.begun(rung.side)
            elif state.step == 0:
                state.image = easel.carried(state.image, rung.side)
            brush = _Brush(eye, settings, easel, rung, state, plans.get(rung.side, {}))
            while state.step < rung.steps:
                losses = brush.stroke()
                state.step, state.seconds = state.step + 1, time.monotonic() - began
                done = sum(each.steps for each in rungs[:place]) + state.step
                _expect_finite(losses, done)
                if state.step % OFTEN == 1 or state.step == rung.steps:
                    _write(preview_of(path), easel.shown(state.image))
                yield StyleStep(done, total, easel.sizes(rung.side)[0], losses, state.seconds)
                if received and done < total:
                    state.optimizer = brush.optimizer_state()
                    state.save(aside_of(path))
                    raise InterruptedRunError(
                        expected="the picture to its end",
                        received=f"{spoken(received)} after {format_number(done, 'step')}; everything is saved",
                        remedy="The same command goes on.",
                    )
            state.rung, state.step, state.optimizer = place + 1, 0, {}
            state.save(aside_of(path))


class _Brush:
    """The steps on one rung.

    Args:
        eye: the network that looks.
        settings: how is painted.
        easel: the images.
        rung: the size.
        state: where to begin; its picture is changed step by step.
        recompute: operators that run again for the gradient.
    """

    def __init__(
        self, eye: Eye, settings: StyleSettings, easel: Easel, rung: Rung, state: State, recompute: Mapping[int, str]
    ) -> None:
        assert state.image is not None
        made: list[Optimizer] = []

        def optimizer(painting: nn.Module) -> Optimizer:
            made.append(make_optimizer(settings, painting))
            return made[-1]

        aims = look(eye.row, eye.layers, *easel.inputs(rung.side))
        image = state.image.to(settings.device).contiguous()
        self._program, self._weighing = painting_step(eye, settings, image, aims, optimizer, recompute)
        self._program.begin()
        self._optimizer = made[-1]
        if state.step:
            groups = self._optimizer.state_dict()["param_groups"]
            self._optimizer.load_state_dict({"state": {0: dict(state.optimizer)}, "param_groups": groups})
        state.image = image

    def stroke(self) -> Losses:
        """Take one step; return the losses before it."""
        self._program.run(lambda _phase: nullcontext())
        return self._weighing.last

    def optimizer_state(self) -> dict[str, Any]:
        """Return what the optimizer remembers."""
        (kept,) = self._optimizer.state_dict()["state"].values()
        return dict(kept)


def _expect_finite(losses: Losses, step: int) -> None:
    if not all(map(math.isfinite, losses)):
        raise NotFiniteError(
            expected="finite losses",
            received=f"{losses} at step {step}",
            remedy="Try --opt adam, or a smaller --style-weight.",
        )


def _write(path: Path, pixels: UInt8[Tensor, "3 H W"]) -> None:
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    kind = Image.registered_extensions()[path.suffix.lower()]
    replace_file(path, lambda beside: picture.save(beside, format=kind, quality=95))
