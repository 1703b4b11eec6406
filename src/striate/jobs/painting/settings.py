"""What can be asked of a painted picture, and what is refused before anything heavy is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from striate.errors import UsageError, nearest
from striate.files import spell
from striate.pretrained import HUB
from striate.units import parse_bytes
from striate.weights import find_weights, read_weights_config, weights_at_hand, weights_folder
from striate.zoo import ZOO, find_model

StyleOptimizer = Literal["lbfgs", "adam"]
Init = Literal["content", "noise"]
Device = Literal["cpu", "cuda"]

# What is looked for where nobody names weights: the paper's network first.
PREFERRED = ("vgg19", "vgg16", "squeezenet1_0")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
SMALLEST = 32  # Pixels of the longer side.


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleSettings:
    """How a picture is painted.

    Args:
        model: a network of the zoo for whole images; by default that of the weights.
        weights: a safetensors file, a folder of weights, a run, or ``hub``; by default what is at hand of vgg19, vgg16
            or squeezenet1_0.
        image_size: pixels of the longer side.
        steps: on the coarsest size; five eighths as many on each next one.
        content_weight: how much what the picture shows counts.
        style_weight: how much its style counts.
        tv_weight: how much it counts that neighbours differ little.
        preserve_color: whether the content's colours are kept.
        opt: the optimizer.
        init: what the picture begins as.
        memory: bytes that may be taken, such as ``"500MB"`` or ``"50%"``; None for as many as it takes.
        seed: of the noise to begin with.
        device: where it is computed.

    Raises:
        UsageError: for a value that cannot be.
    """

    model: str | None = None
    weights: str | Path | None = None
    image_size: int = 512
    steps: int = 200
    content_weight: float = 1.0
    style_weight: float = 3.0
    tv_weight: float = 0.01
    preserve_color: bool = False
    opt: StyleOptimizer = "lbfgs"
    init: Init = "content"
    memory: str | None = None
    seed: int = 0
    device: Device = "cpu"

    def __post_init__(self) -> None:
        for flag, value, known in (
            ("opt", self.opt, get_args(StyleOptimizer)),
            ("init", self.init, get_args(Init)),
            ("device", self.device, get_args(Device)),
        ):
            if value not in known:
                raise UsageError(expected=f"--{flag}", received=repr(value), remedy=nearest(str(value), known))
        least: list[tuple[str, float, float]] = [
            ("--image-size", self.image_size, SMALLEST),
            ("--steps", self.steps, 1),
            ("--content-weight", self.content_weight, 0),
            ("--style-weight", self.style_weight, 0),
            ("--tv-weight", self.tv_weight, 0),
        ]
        for flag, number, lowest in least:
            if not lowest <= number < float("inf"):
                raise UsageError(
                    expected=f"{flag} of {lowest:g} or more", received=f"{number:g}", remedy="Give a larger number."
                )
        if self.memory is not None and not self.memory.strip().endswith("%"):
            parse_bytes(self.memory)


class Source(NamedTuple):
    """Which network looks at the pictures.

    Args:
        model: its name in the zoo.
        weights: as `striate.pretrained.open_pretrained` takes them.
    """

    model: str
    weights: str | Path


def check_style(content: str | Path, style: str | Path, output: str | Path, settings: StyleSettings) -> Source:
    """Refuse what could not be painted; return which network is to look at the pictures.

    Raises:
        UsageError: for a picture that is not there, an output that is or that is no picture, files of the user's where
            preview and state would be, or a network without weights.
    """
    for what, picture in (("content", content), ("style", style)):
        if not Path(picture).is_file():
            raise UsageError(
                expected=f"an image file as {what}",
                received=f"{spell(picture)!r}, which is {'a folder' if Path(picture).is_dir() else 'not there'}",
                remedy=f"Check the path; a relative one counts from this folder: {Path.cwd()}.",
            )
    path = Path(output)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            expected=f"--output as a file that ends with {', '.join(SUFFIXES)}",
            received=spell(path),
            remedy="Such as painted.png.",
        )
    if path.exists():
        raise UsageError(
            expected="--output as a new file",
            received=f"{spell(path)}, which is there",
            remedy="Delete it, or choose another name.",
        )
    _expect_free(path, (Path(content), Path(style)))
    return find_source(settings)


def _expect_free(output: Path, pictures: Sequence[Path]) -> None:
    """Refuse to write over a file of the user's while the picture is being painted."""
    preview, aside = preview_of(output), aside_of(output)
    for beside in (preview, aside):
        if beside.exists() and any(beside.samefile(picture) for picture in pictures):
            raise UsageError(
                expected=f"--output beside which {spell(beside)} can be written while it is painted",
                received="that file as content or style",
                remedy="Choose another name.",
            )
    if preview.exists() and not aside.exists():
        raise UsageError(
            expected=f"{spell(preview)}, the preview while it is painted, as a new file",
            received=f"one that is there, without {spell(aside)} of a picture to go on with",
            remedy="Delete it if it is of a picture that was cut off; else choose another name.",
        )


def preview_of(output: Path) -> Path:
    """Return the file of a picture that is not ready."""
    return output.with_name(f"{output.stem}-preview{output.suffix}")


def aside_of(output: Path) -> Path:
    """Return the file in which a picture is put aside."""
    return output.with_name(f"{output.name}.state")


def find_source(settings: StyleSettings) -> Source:
    """Return which network looks at the pictures, and its weights.

    Raises:
        UsageError: where nobody says, or it is no network for whole images.
    """
    model, weights = settings.model, settings.weights
    if model is not None:
        _expect_backbone(model)
    if weights is None:
        return _at_hand(PREFERRED if model is None else (model,))
    if str(weights) != HUB and not Path(weights).exists():
        raise UsageError(
            expected="--weights as a safetensors file, a folder of weights, a run, or hub",
            received=f"{str(weights)!r}, which is not there",
            remedy=f"A relative path counts from this folder: {Path.cwd()}.",
        )
    if model is None and str(weights) == HUB:
        model = PREFERRED[0]
    if model is None and Path(weights).is_dir():
        model = read_weights_config(find_weights(weights)).model
        _expect_backbone(model)
    if model is None:
        raise UsageError(
            expected=f"--model, whose weights {weights} holds",
            received="none",
            remedy=f"Such as --model {PREFERRED[0]}, or squeezenet1_0.",
        )
    return Source(model, weights)


def _expect_backbone(model: str) -> None:
    entry = find_model(model)
    if entry.task != "classify" or not entry.backbone or entry.in_chans != 3:
        raise UsageError(
            expected="a network for whole images in colour, with feature maps",
            received=model,
            remedy=f"Such as {', '.join(PREFERRED)}.",
        )


def _at_hand(models: tuple[str, ...]) -> Source:
    counts: dict[str, Any] = {name: {entry.parameters, entry.with_aux_heads} for name, entry in ZOO.items()}
    found = weights_at_hand(counts)
    for name in models:
        if name in found:
            return Source(name, found[name][0])
    raise UsageError(
        expected=f"--weights of {' or '.join(models)}, trained on photographs",
        received=f"none, and there are none in {weights_folder()}",
        remedy="Give a file of torchvision's or timm's weights with --weights FILE.safetensors --model NAME, or "
        "--weights hub to fetch them.",
    )
